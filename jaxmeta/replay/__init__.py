"""Replay buffers: their rows, and sampling from them."""
