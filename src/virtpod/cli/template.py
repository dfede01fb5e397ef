"""virtctl template: VirtualMachineTemplates, which the project virt-template serves."""

COMMANDS = {
    "convert": "Make a VirtualMachineTemplate of an OpenShift Template.",
    "create": "Have a VirtualMachineTemplate made of a virtual machine.",
    "process": "Make a virtual machine of a VirtualMachineTemplate.",
}
