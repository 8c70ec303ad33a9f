"""Tasks and steps that no environment made."""
