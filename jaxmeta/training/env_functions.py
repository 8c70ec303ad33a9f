"""What an environment's functions return, traced for shapes and dtypes only."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.config.untrusted_text import one_line, safe_repr
from jaxmeta.env import Discrete, Env, Step

FLAGS = ("last", "over", "bad", "limit", "met")  # of a Step
NUMBERS = ("reward", "env_reward", "discount", "shaped")


class BrokenContract(ValueError):
    """What an environment does not keep to, in words."""


def refuse(attribute: str, value: Any, wanted: str) -> NoReturn:
    """Refuse the value of an attribute.

    Raises:
      BrokenContract: always.
    """
    raise BrokenContract(f"{attribute} = {safe_repr(value)}: must be {wanted}")


def check_functions(env: Env, split: str) -> None:
    """Check the shapes and dtypes of what all functions return; `split` is trained on."""
    key = jax.random.key(0)
    task = traced(f"sample_task(key, {split!r})", lambda: env.sample_task(key, split))
    if not jax.tree.leaves(task):
        raise BrokenContract("sample_task: must return at least one array")
    for name in (*env.splits, *([split] if env.finite else [])):
        check_eval_tasks(env, name, task)
    following = traced("next_task", lambda task: env.next_task(key, split, task), task)
    require_same("next_task", following, "sample_task", task)
    started = traced("reset", lambda task: env.reset(key, task), task)
    if not isinstance(started, tuple) or len(started) != 2:
        raise BrokenContract("reset: must return (state, obs)")
    state, obs = started
    require_obs(env, "obs of reset", obs)
    noise = traced("draw_reset", lambda: env.draw_reset(key))
    require_same("reset_with", traced("reset_with", env.reset_with, noise, task), "reset", started)
    noise = traced("draw", lambda: env.draw(key))
    stepped = traced("step", env.step, noise, state, example_action(env), task)
    if not isinstance(stepped, tuple) or len(stepped) != 2 or not isinstance(stepped[1], Step):
        raise BrokenContract("step: must return (state, Step), such as mdp_step(obs, reward)")
    require_same("state of step", stepped[0], "state of reset", state)
    check_step(env, stepped[1])
    require_scalar("best_return", traced("best_return", env.best_return, task), jnp.number)
    require_scalar("family", traced("family", env.family, task), jnp.integer)
    if env.cells is not None:
        index = traced("cells.index", env.cells.index, obs)
        require_scalar("cells.index", index, jnp.integer)


def check_eval_tasks(env: Env, split: str, task: Any) -> None:
    """Check that a split's tasks are those of `sample_task` (shapes), batched on axis 0."""
    name = f"eval_tasks({split!r})"
    batch = called(name, lambda: jax.tree.map(jnp.asarray, env.eval_tasks(split)))
    if not same_structure(batch, task):
        raise BrokenContract(
            f"{name}: must be one batch of tasks, structured like sample_task's, with axis 0 in"
            f" front: {describe(task)} each, not {describe(batch)}"
        )
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(batch)}
    if len(counts) > 1 or counts <= {(), (0,)}:
        raise BrokenContract(
            f"{name}: must have tasks on axis 0, equally many of all arrays, not {describe(batch)}"
        )
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch)
    require_same(f"a task of {name}", one, "sample_task", task)
    families = called("family", lambda: np.asarray(jax.vmap(env.family)(batch)))
    count = len(env.families)
    if count and not np.isin(families, np.arange(count)).all():
        raise BrokenContract(f"family: must be 0 to {count - 1}, one of the named families")


def check_step(env: Env, step: Step) -> None:
    """Check the fields of a Step (shapes)."""
    for name in ("obs", "next_obs"):
        require_obs(env, f"{name} of step", getattr(step, name))
    for name in NUMBERS:
        if getattr(step, name) is not None:
            require_scalar(f"{name} of step", getattr(step, name))
    for name in FLAGS:
        require_scalar(f"{name} of step", getattr(step, name), jnp.bool_)
    for name, value in (step.metrics or {}).items():
        require_scalar(f"metrics[{name!r}] of step", value)


def example_action(env: Env) -> Any:
    """Return an action's shape."""
    if isinstance(env.action_space, Discrete):
        return jax.ShapeDtypeStruct((), jnp.int32)
    return jax.ShapeDtypeStruct(env.action_space.shape, jnp.float32)


def traced(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return the shapes of what one of the environment's functions returns.

    Raises:
      BrokenContract: it cannot be traced.
    """
    arrays = lambda *args: jax.tree.map(jnp.asarray, function(*args))
    return called(name, jax.eval_shape, arrays, *args)


def called(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns that calls the environment's function of this name.

    Raises:
      BrokenContract: it raises anything; says what and where.
    """
    try:
        return function(*args)
    except Exception as error:
        what = f"{name}: {type(error).__name__}: {one_line(str(error))}"
        raise BrokenContract(f"{what}{place_of(error)}") from error


def place_of(error: Exception) -> str:
    """Return " (FILE.py, line N)" of the user's code that raised an error, "" if it did not."""
    libraries = (str(Path(jax.__file__).parent), str(Path(__file__).parents[1]))
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(libraries)]
    return f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""


def require_obs(env: Env, name: str, obs: Any) -> None:
    """Refuse an observation (shapes) that is not of the observation space."""
    space = env.obs_space
    dtype = jax.dtypes.canonicalize_dtype(space.dtype)
    if describe(obs) != describe(jax.ShapeDtypeStruct(space.shape, dtype)):
        raise BrokenContract(
            f"obs_space = {space}: but {name} is {describe(obs)}; both must have one shape and"
            " dtype"
        )


def require_scalar(name: str, x: Any, kind: Any = None) -> None:
    """Refuse what is no number [] (shapes) of a kind; None: any real number or bool."""
    kinds = {None: "a number", jnp.number: "a number", jnp.integer: "a whole number"}
    fits = isinstance(x, jax.ShapeDtypeStruct) and x.shape == ()
    real = fits and not jnp.issubdtype(x.dtype, jnp.complexfloating)
    number = real and (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == jnp.bool_)
    if not (number and (kind is None or jnp.issubdtype(x.dtype, kind))):
        wanted = kinds.get(kind, "true or false (bool)")
        raise BrokenContract(f"{name}: must be {wanted} of shape (), not {describe(x)}")


def require_same(name: str, found: Any, of: str, wanted: Any) -> None:
    """Refuse a pytree (shapes) of another structure, or with other shapes or dtypes."""
    if describe(found) != describe(wanted):
        raise BrokenContract(f"{name}: is {describe(found)}, but {of} is {describe(wanted)}")


def same_structure(a: Any, b: Any) -> bool:
    """Whether two pytrees differ in their leaves at most."""
    structure: Any = jax.tree.structure
    return structure(a) == structure(b)


def describe(tree: Any) -> str:
    """Return a pytree of arrays (or shapes) in words, such as {'x': float32[2]}."""
    word = lambda x: Word(f"{x.dtype}[{','.join(map(str, x.shape))}]")
    return one_line(repr(jax.tree.map(word, tree)))


class Word(str):
    """A text that is printed without quotes."""

    def __repr__(self) -> str:
        """Return the text itself."""
        return str(self)
