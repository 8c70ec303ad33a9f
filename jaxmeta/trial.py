"""The BAMDP: N episodes of one task, played as one trial (`Env -> Env`)."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.action_units import to_env_action, unit_space
from jaxmeta.env import TRAIN, Array, Env, EnvState, Key, Step, Task, Wrapper, where


class TrialState(NamedTuple):
    """The state of a trial."""

    inner: EnvState
    episode: Array  # [] episodes finished
    t: Array  # [] steps taken in the running episode


class TrialNoise(NamedTuple):
    """The randomness of one step of a trial."""

    step: Any
    reset: Any


class Trial(Wrapper):
    """See `trial`."""

    def __init__(self, env: Env, episodes: int, boundary: str):
        super().__init__(env)
        self.episodes, self.boundary = episodes, boundary
        self.horizon = episodes * env.horizon
        self.goals = env.has_goals
        self.action_space = unit_space(env.action_space)
        (width,) = env.obs_space.shape
        low, high = min(env.obs_space.low, 0.0), max(env.obs_space.high, 1.0)
        self.obs_space = replace(env.obs_space, shape=(width + 1,), low=low, high=high)

    def split_name(self, split: str) -> str:
        """Return the environment's own name of a split: "train" is its first."""
        return self.splits[0] if split == TRAIN else split

    def sample_task(self, key: Key, split: str) -> Task:
        """Return a task drawn from a split, "train" or "oracle"."""
        return self.env.sample_task(key, self.split_name(split))

    def next_task(self, key: Key, split: str, task: Task) -> Task:
        """Return the task that follows one whose trial ended early."""
        return self.env.next_task(key, self.split_name(split), task)

    def eval_tasks(self, split: str) -> Task:
        """Return the split's fixed evaluation tasks."""
        return self.env.eval_tasks(self.split_name(split))

    def draw(self, key: Key) -> TrialNoise:
        """Return the noise of the inner step, and of the reset after an episode's end."""
        key_step, key_reset = jax.random.split(key)
        return TrialNoise(self.env.draw(key_step), self.env.draw_reset(key_reset))

    def draw_reset(self, key: Key) -> Any:
        """Return the inner reset's noise."""
        return self.env.draw_reset(key)

    def reset(self, key: Key, task: Task) -> tuple[TrialState, Array]:
        """Start a trial: the flag is 0."""
        return self.reset_with(self.draw_reset(key), task)

    def reset_with(self, noise: Any, task: Task) -> tuple[TrialState, Array]:
        """Start a trial with drawn noise."""
        inner, obs = self.env.reset_with(noise, task)
        zero = jnp.zeros((), jnp.int32)
        return TrialState(inner, zero, zero), flagged(obs, zero)

    def step(
        self, noise: TrialNoise, state: TrialState, action: Array, task: Task
    ) -> tuple[TrialState, Step]:
        """Take one step; after an episode's end the next episode of the task begins.

        The action is in units of the action space's bounds (`action_units`).
        """
        action = to_env_action(self.env.action_space, action)
        inner, step = self.env.step(noise.step, state.inner, action, task)
        t = state.t + 1
        last = step.last | (t >= self.env.horizon)
        episode = state.episode + last
        over = episode >= self.episodes
        start, start_obs = self.env.reset_with(noise.reset, task)
        seen = jnp.where(last, start_obs, step.obs) if self.boundary == "start" else step.next_obs
        return (
            TrialState(where(last, start, inner), episode, jnp.where(last, 0, t)),
            Step(
                obs=flagged(seen, last),
                reward=number(step.reward),
                next_obs=flagged(step.next_obs, last),
                last=last,
                # Returns are bootstrapped across inner boundaries, not across the trial's end.
                discount=jnp.where(over, 0.0, 1.0),
                over=over,
                env_reward=number(step.env_reward),
                bad=step.bad,
                limit=last & (~step.last | step.limit),
                met=self.goal_met(step.met, number(step.env_reward)),
                shaped=None if step.shaped is None else number(step.shaped),
                metrics=step.metrics,
            ),
        )


def number(reward: Array | float) -> Array:
    """Return a reward of any kind, a bool too, as float32 []."""
    return jnp.asarray(reward, jnp.float32)


def flagged(obs: Array, last: Array) -> Array:
    """Append the end flag to an observation: [O] -> [O + 1]."""
    return jnp.concatenate([obs, last.astype(obs.dtype)[None]])


def trial(env: Env, episodes: int, boundary: str = "terminal") -> Trial:
    """Return the environment whose episodes are whole trials of `episodes` episodes.

    Its actions are in units of the action space's bounds, its rewards are float32, and its split
    "train" is the environment's first.

    Observations gain a last entry, 1 where the transition just taken ended an episode.
    The two forms differ in what the agent sees there:

    - "terminal": the finished episode's last observation. The reset happens after it,
      and the next action is carried out from a start state that is never shown (the
      public code of variBAD and LDM; both of our presets).
    - "start": the next episode's first observation, with the flag set.
    """
    return Trial(env, episodes, boundary)
