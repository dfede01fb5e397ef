"""virt-launcher: one per VMI, unprivileged; runs the guest by a libvirt of its own, ends with it.

It imports the pure core, the wire protocol and libvirt, and nothing else: there is one in every
pod, so its start is in every VM's start and its memory in every VM's bill.
"""
