"""What a run is, as numbers and words: its fields, how they are checked, names. Imports no jax."""
