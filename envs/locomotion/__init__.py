"""Robots that MuJoCo simulates, and the physics behind them."""
