"""virt-handler: one per node, between the API and the launchers of that node.

It may do what pods may not, so it believes nothing that a pod could have forged: a launcher is
known by where its socket is, files in a pod's volumes are opened by handle, and who is at the
other end of a connection is what the kernel says.
"""
