"""Policy learning: A2C, PPO, SAC, and the on-policy and off-policy loops around them."""
