"""The papers' experiments and our own, as values of Run by name."""
