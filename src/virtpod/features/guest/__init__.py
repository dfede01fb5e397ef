"""What is agreed with the guest itself: its agent, how it starts, how it is asked to stop."""
