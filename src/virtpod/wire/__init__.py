"""What virt-handler and virt-launcher say to each other, and how it is framed."""
