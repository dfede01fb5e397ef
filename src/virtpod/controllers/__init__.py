"""What virt-controller decides, one file per kind: `decide(Seen) -> Plan`, pure.

Objects are read as the JSON they are, because patches must `test` exactly what was read.
"""
