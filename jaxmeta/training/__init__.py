"""Train a run and go on with it: from building it to acting with what it gave."""
