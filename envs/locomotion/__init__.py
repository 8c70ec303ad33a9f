"""Robots that MuJoCo simulates, and their physics."""
