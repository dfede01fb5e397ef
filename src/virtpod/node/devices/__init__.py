"""Devices of the node, from sysfs to the kubelet: what there is, who has it, what ails it."""
