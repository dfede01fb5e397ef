"""A node that has PCI functions to give away, on a host that has none: a virtual machine under
QEMU's emulation with an IOMMU, a network card with SR-IOV and an NVMe disk.

It is one more node of the embedded cluster: its root file system is the host's, seen by virtiofs
and written to nowhere but on its own disk, so that it runs the very kubelet and containerd that the
other nodes run. Its kernel is Debian's.

`machine.py` is the host's side, `fill.py` puts images onto the node's disk before it boots,
`boot.py` is the first process within, `functions.py` what an administrator does in sysfs,
`guest.py` the guest that has the cards' drivers.
"""

from localcluster import layout

NODE = layout.ALL_NODES[-1]
"""The last of the addresses: nodes in namespaces are counted from the first."""
TAP = f"v-{NODE.name}"
FOLDER = layout.LOCAL / "hostdev"

ROOT_TAG, LOGS_TAG = "host", "logs"
"""Names by which the machine finds what the host shares with it."""

CARD, FUNCTION, DISK = "8086:10c9", "8086:10ca", "1b36:0010"
"""QEMU's igb (an Intel 82576), a virtual function of it, and QEMU's NVMe controller."""
FUNCTIONS = 2
MAC = "52:54:00:00:10:{:02x}"
"""Of a virtual function, by its number: the physical one's driver gives it."""
