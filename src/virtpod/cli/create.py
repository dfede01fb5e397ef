"""virtctl create: manifests on standard output, for kubectl create -f -."""

COMMANDS = {
    "clone": "Write a VirtualMachineClone.",
    "instancetype": "Write a VirtualMachineClusterInstancetype, or a namespaced one.",
    "preference": "Write a VirtualMachineClusterPreference, or a namespaced one.",
    "vm": "Write a VirtualMachine.",
}
