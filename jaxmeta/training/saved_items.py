"""What a checkpoint holds: the state to resume from, each seed's last and best parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm
from jaxmeta.env import Array
from jaxmeta.rundir.checkpoint import Start, flatten_with_names
from jaxmeta.training.compiled_functions import Members, initial_states

COURSE = "course"  # the checkpoint's item that training resumes from
AGENT = "agent"  # the one with the agents' parameters


class Best(NamedTuple):
    """Each seed's parameters at its best evaluation on training tasks; [seeds, ...]."""

    params: Params
    score: Array  # mean return of the greedy policy's N-th episode
    update: Array


class Trained(NamedTuple):
    """The checkpoint's item `agent`."""

    last: Params
    best: Best


def trained_shapes(members: Members, algorithm: Algorithm) -> Trained:
    """Return the shapes of the members' `Trained`."""

    def start() -> Trained:
        params = algorithm.params(initial_states(members, algorithm))
        zero = jnp.zeros(len(members.seed))
        return Trained(params, Best(params, zero, zero.astype(jnp.int32)))

    return jax.eval_shape(start)


def start_of(algorithm: Algorithm, members: Members) -> Start:
    """Return what fills leaves of checkpoints from before they were added.

    A method declares those of its state (`Algorithm.added`). Options that are younger have what
    runs did before (`before=`), as the members have it; new metrics begin without a sum.
    """
    filled: dict[str, Any] = {
        f"{COURSE}.progress.total": 0.0,
        f"{COURSE}.progress.first_bad": -1.0,
    }
    for name, value in flatten_with_names(members.hp).items():
        filled[f"{COURSE}.state.hp.{name}"] = np.asarray(value)
    for name, value in algorithm.added.items():
        filled[f"{COURSE}.state.{name}"] = value
        if name.startswith("params."):
            own = name.removeprefix("params.")
            filled |= {f"{AGENT}.last.{own}": value, f"{AGENT}.best.params.{own}": value}

    def start(leaf: str) -> Any:
        found = (value for name, value in filled.items() if f"{leaf}.".startswith(f"{name}."))
        return next(found, None)

    return start


def no_best(shapes: Best) -> Best:
    """Return what every evaluation is better than."""
    nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return nothing._replace(score=nothing.score - np.inf)


def update_best(
    best: Best, params: Params, score: np.ndarray, finite: list[bool], update: int
) -> Best:
    """Return each finite seed's better parameters: the new ones where they score higher."""
    chosen = (score > best.score) & np.array(finite)

    def pick(new: Any, old: Any) -> Any:
        return np.where(chosen.reshape(-1, *[1] * (np.ndim(old) - 1)), new, old)

    return Best(
        jax.tree.map(pick, params, best.params),
        pick(score, best.score),
        pick(np.int32(update), best.update),
    )
