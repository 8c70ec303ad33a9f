"""Imagined tasks: rewards that a decoder generates."""
