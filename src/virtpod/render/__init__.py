"""Composition: what all features together make of one VMI, for each process that needs it."""
