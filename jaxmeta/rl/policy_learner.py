"""The interface of on-policy learners, which `a2c` and `ppo` implement."""

from collections.abc import Callable
from typing import NamedTuple

import optax

from jaxmeta.agent import Params, Transition
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.env import Array, Key
from jaxmeta.nn.running_statistics import Statistics
from jaxmeta.rollout import Rollout

GROUPS = ("encoder", "policy")  # the parameters that RL trains


class PolicyLearnerState(NamedTuple):
    """The optimiser state, and the statistics of returns."""

    opt: optax.OptState
    returns: Statistics  # of discounted returns, in the environment's reward


class PolicyLearner(NamedTuple):
    """Trains the policy; other groups of `params` are unchanged.

    Attributes:
      init: (params, hp) -> PolicyLearnerState.
      learn: (params, learned, rollout [T, W], fold_past, key, hp) -> (params, learned, metrics);
        `fold_past` knows the earlier steps of the trial, where the rollout begins in its middle.
    """

    init: Callable[[Params, Hyper], PolicyLearnerState]
    learn: Callable[..., tuple[Params, PolicyLearnerState, Metrics]]


Loss = Callable[[Params, Rollout, Key, Hyper], tuple[Array, Metrics]]
Relabel = Callable[[Transition], Transition]  # with the rewards that returns are computed from


def unchanged(tr: Transition) -> Transition:
    """Return transitions with their own rewards."""
    return tr
