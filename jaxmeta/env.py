"""What an environment is: pure functions of a task, written for one worker.

`vmap` makes the batch. A task is an argument, never an attribute: a batch of tasks is a
batched pytree, and sampling, switching or mixing tasks needs no mechanism of its own.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Key = jax.Array
Task = Any
EnvState = Any
TRAIN = "train"  # the first split, by whatever name; what methods ask for
ORACLE = "oracle"  # the union of all splits


@dataclass(frozen=True)
class Box:
    """Real or integer vectors: every entry in [low, high]."""

    shape: tuple[int, ...]
    low: float = -float("inf")
    high: float = float("inf")
    dtype: str = "float32"


@dataclass(frozen=True)
class Discrete:
    """The integers 0 to n - 1."""

    n: int


@dataclass(frozen=True)
class Binary:
    """A reward that is `high` where the goal is reached and `low` elsewhere."""

    low: float
    high: float


@dataclass(frozen=True)
class Real:
    """A reward that may be any number."""


@dataclass(frozen=True)
class Cells:
    """A finite set of states, for decoders with one output per state.

    `index` maps an observation [O] to its state's number in 0 to n - 1.
    """

    n: int
    index: Callable[[Array], Array]


class Step(NamedTuple):
    """What a step returns besides the state."""

    obs: Array  # [O] what the agent sees next
    reward: Array  # []
    next_obs: Array  # [O] where the action led; equals obs unless an episode ended
    last: Array  # [] bool: an episode ended, for any reason
    discount: Array  # [] 0 where the MDP truly terminated or the trial ended, else 1
    over: Array  # [] bool: the trial ended; a new task follows
    env_reward: Array  # [] the true reward where `reward` is imagined, else the same
    bad: Array | bool = False  # [] the simulation diverged: the step was not taken
    limit: Array | bool = False  # [] the time limit alone ended the episode
    met: Array | bool = False  # [] the goal was reached in this step (see `Env.goals`)
    # [] what policies learn from in the place of `reward`; None: from `reward`. Memories, beliefs
    # and every score read `reward`.
    shaped: Array | None = None
    metrics: dict[str, Array] | None = None  # scalars [] of the environment's own, by name


def mdp_step(obs: Array, reward: Array, terminated: Array | bool = False, **fields: Any) -> Step:
    """Return the Step of a plain MDP, in which a trial is one episode; `fields` is `met` etc.

    The reward may be any number or array [] of numbers or bools.
    """
    reward, terminated = jnp.asarray(reward), jnp.asarray(terminated)
    discount = jnp.where(terminated, 0.0, 1.0)
    return Step(obs, reward, obs, terminated, discount, terminated, reward, **fields)


class Env(abc.ABC):
    """A family of MDPs, one per task. Subclasses hold no state.

    Attributes:
      obs_space: what an agent sees.
      action_space: what it does.
      reward: `Binary(low, high)` or `Real()`.
      horizon: steps of an episode, at most.
      splits: disjoint task sets by name; the first is trained on, whatever its name.
        `sample_task` also understands "oracle": the union of all splits.
      fixed_length: True where no episode can end before `horizon`; rollouts are then
        faster, because no worker is reset inside them.
      cells: the finite set of states, where there is one.
      simulated: whether a physics engine computes its steps, which may diverge.
      families: what a task's sub-families are called; empty where there is one only.
      finite: whether `eval_tasks` returns all tasks of a split ("oracle" too).
      goals: whether `Step.met` says in which steps the goal is reached, which evaluations count
        as `reached`. A `Binary` reward says so by itself.
      options: what it was made with, where its maker takes options of its own.
    """

    obs_space: Box
    action_space: Discrete | Box
    reward: Binary | Real
    horizon: int
    splits: tuple[str, ...] = ("train",)
    fixed_length: bool = False
    cells: Cells | None = None
    simulated: bool = False
    families: tuple[str, ...] = ()
    finite: bool = False
    goals: bool = False
    options: Any = None

    @abc.abstractmethod
    def sample_task(self, key: Key, split: str) -> Task:
        """Return a task drawn from a split, or from the union of all ("oracle")."""

    def next_task(self, key: Key, split: str, task: Task) -> Task:
        """Return the task that follows one whose trial ended early, within a rollout."""
        del task
        return self.sample_task(key, split)

    @abc.abstractmethod
    def eval_tasks(self, split: str) -> Task:
        """Return the split's fixed evaluation tasks, batched on axis 0."""

    @abc.abstractmethod
    def reset(self, key: Key, task: Task) -> tuple[EnvState, Array]:
        """Return the first state of an episode and its obs [O]."""

    @abc.abstractmethod
    def step(self, noise: Any, state: EnvState, action: Array, task: Task) -> tuple[EnvState, Step]:
        """Return the next state and the Step; `noise` is what `draw` made for this step."""

    def draw(self, key: Key) -> Any:
        """Return all randomness of one step. It is drawn for every step before a rollout.

        By default the key itself. Drawing numbers inside a scan is slow; an environment
        that needs many overrides this.
        """
        return key

    def draw_reset(self, key: Key) -> Any:
        """Return all randomness of one reset, drawn before a rollout; by default the key itself.

        An environment that overrides it overrides `reset_with`, too.
        """
        return key

    def reset_with(self, noise: Any, task: Task) -> tuple[EnvState, Array]:
        """Do what `reset` does; `noise` is what `draw_reset` made of its key."""
        return self.reset(noise, task)

    @property
    def has_goals(self) -> bool:
        """Whether steps say if the goal is met: by `Step.met`, or by a binary reward."""
        return self.goals or isinstance(self.reward, Binary)

    def goal_met(self, met: Array | bool, env_reward: Array) -> Array:
        """Return whether a step met the goal, [], by its `met` and its true reward."""
        met = jnp.asarray(met)
        if isinstance(self.reward, Binary):
            met |= env_reward == self.reward.high
        return met

    def best_return(self, task: Task) -> Array:
        """Return the highest return of one episode with the task known; nan if unknown."""
        del task
        return jnp.nan * jnp.ones(())

    def family(self, task: Task) -> Array:
        """Return which of the sub-families a task belongs to, [] int."""
        del task
        return jnp.zeros((), jnp.int32)


class Wrapper(Env):
    """An environment made from an environment: the same tasks, spaces and lengths."""

    def __init__(self, env: Env):
        self.env = env
        self.obs_space, self.action_space = env.obs_space, env.action_space
        self.reward, self.horizon, self.splits = env.reward, env.horizon, env.splits
        self.fixed_length, self.cells = env.fixed_length, env.cells
        self.simulated, self.families = env.simulated, env.families
        self.finite, self.goals, self.options = env.finite, env.goals, env.options

    def sample_task(self, key: Key, split: str) -> Task:
        """Return the inner environment's task."""
        return self.env.sample_task(key, split)

    def eval_tasks(self, split: str) -> Task:
        """Return the inner environment's tasks."""
        return self.env.eval_tasks(split)

    def best_return(self, task: Task) -> Array:
        """Return the inner environment's best return of an episode."""
        return self.env.best_return(task)

    def family(self, task: Task) -> Array:
        """Return the inner environment's sub-family."""
        return self.env.family(task)


def where(condition: Array, then: Any, otherwise: Any) -> Any:
    """Select between two pytrees by one scalar condition; typed keys are allowed."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), then, otherwise)


def is_key(x: Any) -> bool:
    """Whether a leaf (or its shape) is typed PRNG keys."""
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
