"""virtctl credentials: keys and passwords that a guest's agent is given."""

COMMANDS = {
    "add-ssh-key": "Let a user of a virtual machine log in with one more SSH key.",
    "remove-ssh-key": "Take an SSH key from a user of a virtual machine.",
    "set-password": "Set the password of a user of a virtual machine.",
}
