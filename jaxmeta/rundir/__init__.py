"""The run directory: what is in it, how it is claimed, written, read."""
