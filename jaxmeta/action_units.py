"""The units in which networks speak of actions: 1 is the bound of the action space.

Methods know these units only; a trial converts what agents do into the environment's own units.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Box, Discrete

UNBOUNDED = float(np.finfo(np.float32).max)  # some libraries write so what others call infinite


def bounds(space: Box) -> tuple[float | None, float | None]:
    """Return the bounds of a space; None where there is none."""
    low = None if space.low <= -UNBOUNDED else float(space.low)
    high = None if space.high >= UNBOUNDED else float(space.high)
    return low, high


def unit_space(space: Box | Discrete) -> Box | Discrete:
    """Return the space of agents' actions: bounds are -1 and 1, where the space has them."""
    if isinstance(space, Discrete):
        return space
    low, high = bounds(space)
    none = float("inf")
    return replace(space, low=-none if low is None else -1.0, high=none if high is None else 1.0)


def to_env_action(space: Box | Discrete, action: Array) -> Array:
    """Return an agent's action in the environment's units; what leaves the bounds is clipped.

    Between two bounds, -1 to 1 is stretched to them. From a single one units are kept: -1 is a
    lower bound, 1 an upper one. Without bounds, and in discrete spaces, actions stay as they are.
    """
    if isinstance(space, Discrete):
        return action
    low, high = bounds(space)
    if low is not None and high is not None:
        action = (low + high) / 2 + (high - low) / 2 * action
    elif low is not None:
        action = low + 1.0 + action
    elif high is not None:
        action = high - 1.0 + action
    else:
        return action
    return jnp.clip(action, low, high)
