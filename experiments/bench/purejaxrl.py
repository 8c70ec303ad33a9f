"""PureJaxRL's recurrent PPO on CartPole, and ours on the same work.

Its code is read from a folder, where there is one. It was written for older versions of flax and
gymnax, whose two calls are put in the place of today's.
"""

import importlib
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
from flax import linen as nn

from envs.adapters.from_gymnax import from_gymnax
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key

WORKERS, STEPS, EPOCHS, MINIBATCHES = 16, 128, 4, 4
UPDATES = 40  # per timing
# What its modules import for environments that are not used here.
ABSENT = ("brax", "brax.envs", "brax.envs.wrappers", "brax.envs.wrappers.training", "navix")
CONFIG = {
    "LR": 2.5e-4, "ANNEAL_LR": True, "MAX_GRAD_NORM": 0.5, "DEBUG": False,
    "NUM_ENVS": WORKERS, "NUM_STEPS": STEPS, "TOTAL_TIMESTEPS": WORKERS * STEPS * UPDATES,
    "UPDATE_EPOCHS": EPOCHS, "NUM_MINIBATCHES": MINIBATCHES, "ENV_NAME": "CartPole-v1",
    "GAMMA": 0.99, "GAE_LAMBDA": 0.95, "CLIP_EPS": 0.2, "ENT_COEF": 0.01, "VF_COEF": 0.5,
}  # fmt: skip


class OldGRUCell:
    """flax's cell as it was: its size is that of its state."""

    @staticmethod
    def initialize_carry(key: Key, batch: tuple[int, ...], size: int) -> Array:
        """Return zeros."""
        return jax.numpy.zeros((*batch, size))

    def __call__(self, state: Array, inputs: Array) -> tuple[Array, Array]:
        """Return the next state, twice."""
        return nn.GRUCell(features=state.shape[-1])(state, inputs)


class OldStep:
    """An environment of gymnax whose step says only that an episode is done."""

    def __init__(self, env: Any):
        self.env = env

    def __getattr__(self, name: str) -> Any:
        """Return what the environment has."""
        return getattr(self.env, name)

    def step(self, *args: Any) -> tuple[Any, ...]:
        """Step, and merge why the episode ended."""
        obs, state, reward, terminated, truncated, info = self.env.step(*args)
        return obs, state, reward, terminated | truncated, info


def load(folder: Path) -> Any:
    """Return the module `ppo_rnn` of PureJaxRL's folder of that name."""
    import gymnax

    absent: dict[str, Any] = {name: ModuleType(name) for name in ABSENT}
    sys.modules |= absent
    absent["brax"].envs = absent["brax.envs"]
    wrappers = absent["brax.envs.wrappers.training"]
    wrappers.EpisodeWrapper = wrappers.AutoResetWrapper = object
    sys.path.insert(0, str(folder / "purejaxrl"))
    module: Any = importlib.import_module("ppo_rnn")
    module.nn = SimpleNamespace(**{**vars(nn), "GRUCell": OldGRUCell})

    def make(name: str) -> tuple[Any, Any]:
        env, params = gymnax.make(name)
        return OldStep(env), params

    module.gymnax = SimpleNamespace(make=make)
    return module


def frames_per_s(folder: Path, repeats: int = 5) -> float:
    """Return the speed of the code in a folder, the best of some timings."""
    train = jax.jit(load(folder).make_train(CONFIG)).lower(jax.random.PRNGKey(0)).compile()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(train(jax.random.PRNGKey(0)))
        best = min(best, time.perf_counter() - start)
    return WORKERS * STEPS * UPDATES / best


def cartpole() -> Env:
    """Return CartPole in episodes of up to an update's steps."""
    import gymnax

    env, params = gymnax.make("CartPole-v1")
    params = params.replace(max_steps_in_episode=STEPS)
    return from_gymnax(env, lambda key, split: params, {"train": [params]})


def our_run() -> Run:
    """Return RL2 by PPO with PureJaxRL's sizes: 128 numbers to the GRU, in it and behind it."""
    return Run(env="gridworld", method="rl2", rl="ppo", workers=WORKERS).replace(
        {
            "trial.episodes": 1,
            "ppo.epochs": EPOCHS,
            "ppo.minibatches": MINIBATCHES,
            "networks.action_embedding": 0,
            "networks.state_embedding": 112,
            "networks.reward_embedding": 16,
            "networks.hidden": 128,
            "networks.head": 64,
            "networks.policy_layers": (128,),
            "networks.policy_sees_obs": False,
        }
    )
