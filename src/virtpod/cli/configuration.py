"""virtctl configuration: what an installation lets machines have."""

COMMANDS = {"permitted-devices": "Show the devices of nodes that machines may have."}
