"""Seeds and workers on devices and processes, memory, compiled programs on disk."""
