"""What the Makefile's longer targets do."""
