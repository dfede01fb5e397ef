"""The Debian guest: what a user's machine is like, with a real cloud-init, sshd and guest agent."""
