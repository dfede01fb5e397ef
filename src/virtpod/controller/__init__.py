"""virt-controller: the process that runs `controllers/`, one leader at a time."""
