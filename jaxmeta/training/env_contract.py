"""The contract of an environment, checked once before anything is compiled or written.

Attributes are looked at, functions are traced for shapes and dtypes only; what shapes do not show
(rewards, lengths, values within bounds) is seen in a few steps of random actions.
"""

import logging
import math
import numbers
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.action_units import to_env_action
from jaxmeta.config.untrusted_text import safe_name
from jaxmeta.env import (
    ORACLE,
    TRAIN,
    Array,
    Binary,
    Box,
    Cells,
    Discrete,
    Env,
    EnvState,
    Key,
    Real,
    Step,
    Task,
)
from jaxmeta.errors import ConfigError
from jaxmeta.training.env_functions import BrokenContract, called, check_functions, refuse

log = logging.getLogger(__name__)

MAX_STEPS = 64  # of random actions
ROUNDING = 1e-5  # by which an observation may leave its bounds, relative to them
FUNCTIONS = (
    "sample_task", "next_task", "eval_tasks", "reset", "step", "draw", "draw_reset", "reset_with",
)  # fmt: skip


def require_contract(env: Env, name: str, train_split: str = TRAIN) -> None:
    """Refuse an environment, called `name`, that breaks its contract (`jaxmeta.Env`).

    `train_split` is the run's.

    Raises:
      ConfigError: names the attribute or the function, what it is, and what it must be.
    """
    try:
        check_attributes(env)
        check_functions(env, env.splits[0] if train_split == TRAIN else train_split)
        if not env.simulated:  # physics engines have tests of their own, and are slow to compile
            check_rollout(env)
    except BrokenContract as error:
        raise ConfigError(f"env = {safe_name(name)}: {error}") from error.__cause__


def check_attributes(env: Env) -> None:
    """Check what is said of the environment without any function of it."""
    for name in ("obs_space", "action_space", "reward", "horizon"):
        if not hasattr(env, name):
            raise BrokenContract(f"{name}: is missing; {type(env).__name__} must set it")
    obs_space, action_space, reward = env.obs_space, env.action_space, env.reward
    if not isinstance(obs_space, Box):
        refuse("obs_space", obs_space, "a Box; one-hot vectors stand for discrete observations")
    check_box("obs_space", obs_space)
    if isinstance(action_space, Discrete):
        if not is_count(action_space.n):
            refuse("action_space", action_space, "Discrete(n) with a whole number n >= 1")
    elif isinstance(action_space, Box):
        check_box("action_space", action_space)
        if not jnp.issubdtype(action_space.dtype, jnp.floating):
            refuse("action_space", action_space, "of real numbers (dtype float32), or Discrete(n)")
        if action_space.low == action_space.high:
            refuse("action_space", action_space, "a Box with low < high")
    else:
        refuse("action_space", action_space, "a Box or a Discrete")
    if not isinstance(reward, (Binary, Real)):
        refuse("reward", reward, "Binary(low, high) or Real(), an object")
    if isinstance(reward, Binary) and not (
        is_number(reward.low) and is_number(reward.high) and reward.low < reward.high
    ):
        refuse("reward", reward, "Binary(low, high) with finite low < high")
    if not is_count(env.horizon):
        refuse("horizon", env.horizon, "a whole number >= 1, the steps of an episode")
    check_names("splits", env.splits)
    if not env.splits:
        refuse("splits", env.splits, "at least one name, that of the tasks to train on")
    if ORACLE in env.splits or TRAIN in env.splits[1:]:
        refuse("splits", env.splits, f"without {ORACLE}, and with {TRAIN} first, if at all")
    check_names("families", env.families)
    for flag in ("fixed_length", "simulated", "finite", "goals"):
        if not isinstance(getattr(env, flag), bool):
            refuse(flag, getattr(env, flag), "True or False")
    if not (env.cells is None or (isinstance(env.cells, Cells) and is_count(env.cells.n))):
        refuse("cells", env.cells, "None, or Cells(n, index) with a whole number n >= 1")
    for function in FUNCTIONS:
        if not callable(getattr(env, function)):
            refuse(function, getattr(env, function), "a function")


def is_count(x: Any) -> bool:
    """Whether a value is a whole number of at least one."""
    return isinstance(x, numbers.Integral) and not isinstance(x, bool) and int(x) >= 1


def is_number(x: Any) -> bool:
    """Whether a value is a finite number, not an array."""
    return isinstance(x, numbers.Real) and not isinstance(x, bool) and math.isfinite(float(x))


def check_box(attribute: str, box: Box) -> None:
    """Check the shape, the dtype and the bounds of a Box."""
    shape = box.shape
    if not (isinstance(shape, tuple) and len(shape) == 1 and is_count(shape[0])):
        refuse(attribute, box, "a Box of vectors: shape (n,) with n >= 1; flatten images")
    try:
        dtype = jnp.dtype(box.dtype)
    except TypeError:
        refuse(attribute, box, 'a Box with a dtype such as "float32"')
    if not (jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_):
        refuse(attribute, box, 'a Box with a dtype such as "float32"')
    plain = all(isinstance(x, numbers.Real) for x in (box.low, box.high))
    if not plain or not box.low <= box.high:
        refuse(attribute, box, "a Box whose bounds are two numbers, low <= high, for all entries")


def check_names(attribute: str, names: Any) -> None:
    """Check a tuple of names; a forgotten comma makes it a text."""
    if isinstance(names, str):
        refuse(attribute, names, f'a tuple of names, with a comma: ("{names}",)')
    good = isinstance(names, tuple) and all(
        isinstance(name, str) and name and name.isprintable() for name in names
    )
    if not good or len(set(names)) < len(names):
        refuse(attribute, names, "a tuple of different names")


def check_rollout(env: Env) -> None:
    """Check what is promised of values, in a few steps of random actions.

    Observations out of their bounds are announced only: no method reads those bounds.
    """
    space, reward = env.obs_space, env.reward
    bounded = math.isfinite(space.low) or math.isfinite(space.high)
    if not (bounded or env.fixed_length or env.cells or isinstance(reward, Binary)):
        return
    finite = [abs(x) for x in (space.low, space.high) if math.isfinite(x)]
    slack = ROUNDING * max([1.0, *finite])
    announced = False
    for t, obs, step in random_steps(env, min(MAX_STEPS, env.horizon)):
        if not announced and ((obs < space.low - slack) | (obs > space.high + slack)).any():
            announced = True
            log.warning("obs_space: is %s to %s, but %s was observed", space.low, space.high, obs)
        if isinstance(reward, Binary):
            paid = np.float32(step.env_reward)
            if not (np.isnan(paid) or paid in (np.float32(reward.low), np.float32(reward.high))):
                refuse("reward of step", float(paid), f"one of {reward}, or reward = Real()")
        if env.fixed_length and step.last and t < env.horizon:
            ended = f"an episode ended after {t} of {env.horizon} steps"
            refuse("fixed_length", True, f"False: {ended}")
        if env.cells is not None:
            cell = int(env.cells.index(jnp.asarray(obs)))
            if not 0 <= cell < env.cells.n:
                refuse("cells.index", cell, f"0 to {env.cells.n - 1}, as cells.n says")


def random_steps(env: Env, count: int) -> Iterator[tuple[int, np.ndarray, Step]]:
    """Yield the number in the episode, next_obs and the Step of steps of random actions."""
    start = jax.jit(lambda key: start_episode(env, key))
    advance = jax.jit(lambda key, *args: env.step(env.draw(key), *args))
    rng = np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), count)
    t = 0
    for key in keys:
        if t == 0:
            task, state = called("reset", start, key)
        action = random_action(env, rng)
        state, step = called("step", advance, key, state, action, task)
        t += 1
        yield t, np.asarray(step.next_obs, np.float64), step
        if step.last:
            t = 0


def start_episode(env: Env, key: Key) -> tuple[Task, EnvState]:
    """Return a training task and the first state of an episode in it."""
    task = env.sample_task(key, env.splits[0])
    return task, env.reset(key, task)[0]


def random_action(env: Env, rng: np.random.Generator) -> Array:
    """Return an action that an untrained agent might take."""
    if isinstance(env.action_space, Discrete):
        return jnp.int32(rng.integers(env.action_space.n))
    return to_env_action(
        env.action_space, jnp.asarray(rng.normal(size=env.action_space.shape), jnp.float32)
    )
