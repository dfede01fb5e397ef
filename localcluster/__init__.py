"""A real Kubernetes of one or more nodes on one host, without systemd, Docker or virtualisation.

A *machine* is a set of namespaces with a first process of its own (`machine.py`, `init.py`). The
control plane is one machine; each node is another. They meet on a bridge in a network namespace
of their own, so the host sees no new link, no route and no firewall rule.

Only the standard library is used: the cluster must start before anything else is installed.
"""
