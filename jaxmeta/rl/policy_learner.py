"""What a way to learn a policy from rollouts is; `a2c` and `ppo` are two."""

from collections.abc import Callable
from typing import NamedTuple

import optax

from jaxmeta.agent import Params, Transition
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.env import Array, Key
from jaxmeta.nn.running_statistics import Statistics
from jaxmeta.rollout import Rollout

GROUPS = ("encoder", "policy")  # the parameters that RL trains


class Learned(NamedTuple):
    """What learning remembers beside the parameters."""

    opt: optax.OptState
    returns: Statistics  # of discounted returns, in the environment's reward


class PolicyLearner(NamedTuple):
    """A way to learn; `params` may hold other groups, which stay as they are.

    Attributes:
      init: (params, hp) -> Learned.
      learn: (params, learned, rollout [T, W], key, hp) -> (params, learned, metrics).
    """

    init: Callable[[Params, Hyper], Learned]
    learn: Callable[..., tuple[Params, Learned, Metrics]]


Loss = Callable[[Params, Rollout, Key, Hyper], tuple[Array, Metrics]]
Relabel = Callable[[Transition], Transition]  # with the rewards that returns are made of


def unchanged(tr: Transition) -> Transition:
    """Return transitions with their own rewards."""
    return tr
