"""virtctl: one file per command. What starts up is small; a command's imports are its own."""
