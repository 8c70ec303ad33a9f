"""The papers' experiments as values of Run, the command line, figures and benchmarks."""
