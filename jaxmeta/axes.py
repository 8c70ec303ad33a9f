"""Loops over time, cut as the device in use likes them."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

# By backend. An accelerator starts a kernel per operation, and a loop's own (counter, slices,
# stores) are as many as a step's: four steps per iteration save a third of an update's
# kernels. On a CPU a longer body costs compile time and gains nothing.
STEPS_AT_ONCE = {"cpu": 1}
OTHERWISE = 4


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], start: Any, inputs: Any, reverse: bool = False
) -> tuple[Any, Any]:
    """Do what `lax.scan` does, with as many steps per iteration as suit the device."""
    length = jax.tree.leaves(inputs)[0].shape[0]
    most = STEPS_AT_ONCE.get(jax.default_backend(), OTHERWISE)
    at_once = next(n for n in range(most, 0, -1) if length % n == 0)
    return lax.scan(step, start, inputs, reverse=reverse, unroll=at_once)
