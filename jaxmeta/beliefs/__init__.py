"""Task inference: beliefs, their decoders, and their training."""
