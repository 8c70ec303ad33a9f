"""The report on a folder of runs, as text and as a page."""
