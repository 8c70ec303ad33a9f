"""The run directory: what is in it, and how it is locked, written and read."""
