"""Numbers out of run directories, which figures, reports and studies share."""
