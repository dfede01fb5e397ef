"""virt-handler: the node agent. It prepares launcher pods and keeps VMIs and domains in step.

`sync` observes, `controllers.node_vmi` decides, `steps` holds the only privileged code.
"""
