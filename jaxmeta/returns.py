"""Returns and advantages of one worker; `vmap` with `in_axes=1` for many."""

from jaxmeta.env import Array
from jaxmeta.scans import scan


def gae(
    reward: Array,
    value: Array,
    discount: Array,
    bootstrap: Array,
    gamma: Array | float,
    lam: Array | float,
) -> Array:
    """Return generalised advantages [T] (Schulman et al. 2016, Eq. 16).

    Args:
      reward, value, discount: [T]; discount is 0 where nothing follows, else 1.
      bootstrap: [] the value after the last step.
      gamma, lam: [] discount per step and decay of the multi-step mixture.
    """

    def step(carry: tuple[Array, Array], inputs: tuple[Array, ...]) -> tuple[tuple, Array]:
        advantage, next_value = carry
        reward, value, discount = inputs
        delta = reward + gamma * discount * next_value - value
        advantage = delta + gamma * lam * discount * advantage
        return (advantage, value), advantage

    start = (bootstrap * 0, bootstrap)
    _, advantages = scan(step, start, (reward, value, discount), reverse=True)
    return advantages
