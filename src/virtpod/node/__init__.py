"""virt-handler: the node agent. Prepares launcher pods of its node and keeps VMIs and domains in step.

`sync` observes, `controllers.node_vmi` decides, `steps` holds the only privileged code.
"""
