"""How a policy learns: A2C, PPO, SAC, and the loops around them."""
