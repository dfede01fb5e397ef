"""virtctl adm: what an administrator does."""

COMMANDS = {
    "bundle": "Collect what somebody needs who shall find out what happened, in one file.",
    "log-verbosity": "Show or change how much the components log.",
    "profile": "Find out what the components spend their time and memory on.",
}
