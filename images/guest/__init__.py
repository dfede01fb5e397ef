"""The demo guest, a containerDisk small enough to boot fast without hardware virtualization."""
