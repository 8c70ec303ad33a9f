"""Train a run, resume it, and load what it gave: from building it to acting with its agents."""
