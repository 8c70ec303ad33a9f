"""Gridworld maps: the rewards that LDM imagines, a trial and its belief, how wrong beliefs are.

Maps are [SIZE, SIZE], indexed by x and y.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from envs.gridworld import SIZE, Gridworld
from experiments.analysis.run_record import Results
from experiments.analysis.trained_beliefs import Loaded, memories, mix
from jaxmeta.agent import Belief, Params, greedy
from jaxmeta.algorithm import hyper
from jaxmeta.beliefs.options import VAE
from jaxmeta.env import Array, Key
from jaxmeta.rollout import adaptation

SEED = 0  # of what is drawn at random here
MASKS = 32  # dropout masks that a map is averaged over
BATCHES = 200  # groups of workers that the shares are counted over
REWARD = Gridworld.reward
CELLS = [(x, y, 0) for x in range(SIZE) for y in range(SIZE)]  # observations, flag 0


def reward_map(belief: Belief, params: Params, vae: VAE, z: Array, bits: Array | None) -> Array:
    """Return what staying on each cell pays in the task z [L]; bits [49, width] or None."""

    def pay(cell: Array, bits: Array | None) -> Array:
        return belief.imagine(params, z, cell, jnp.zeros((), jnp.int32), cell, bits, vae)

    return jax.vmap(pay)(jnp.array(CELLS, jnp.int8), bits).reshape(SIZE, SIZE)


def dropout_map(belief: Belief, params: Params, vae: VAE, z: Array, key: Key) -> Array:
    """Return `reward_map` averaged over MASKS dropout masks, drawn anew for every cell."""
    keys = jax.random.split(key, (MASKS, len(CELLS)))
    bits = jax.vmap(jax.vmap(lambda key: belief.draw(key)[1]))(keys)
    return jax.vmap(lambda bits: reward_map(belief, params, vae, z, bits))(bits).mean(0)


class Imagined(NamedTuple):
    """Reward maps of M mixtures, and the mixtures."""

    dropout_on: Any  # [M, 7, 7] mean over masks
    dropout_off: Any  # [M, 7, 7]
    weights: Any  # [M, 7, 7] the weight of each goal cell, summed over workers who had it


def imagine(loaded: Loaded, batches: int = BATCHES) -> Imagined:
    """Return what mixtures of the latents at the end of a training trial pay."""
    run, _, algorithm, params = loaded
    hp, belief = hyper(run), algorithm.belief
    assert belief is not None

    def one_group(key: Key) -> Imagined:
        key_mix, key_masks = jax.random.split(key)
        z, weights, goals = mix(loaded, hp.imagination, key_mix)
        keys = jax.random.split(key_masks, run.imagination.mixture)
        # Per-dimension weights are shown by their mean.
        at_goals = jax.vmap(
            lambda w: jnp.zeros((SIZE, SIZE)).at[goals[:, 0], goals[:, 1]].add(w.mean(-1))
        )
        return Imagined(
            jax.vmap(lambda z, key: dropout_map(belief, params, hp.vae, z, key))(z, keys),
            jax.vmap(lambda z: reward_map(belief, params, hp.vae, z, None))(z),
            at_goals(weights),
        )

    keys = jax.random.split(jax.random.key(SEED), batches)
    maps = jax.jit(lambda keys: lax.map(one_group, keys))(keys)
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, SIZE, SIZE), maps)


def shares(maps: np.ndarray, cells: np.ndarray) -> dict[str, float]:
    """Return the shares of maps [M, 7, 7] that pay some of the cells, or pay one of them most.

    A cell is paid where its reward is above the middle of low and high: p(goal) > 0.5.
    """
    chosen = np.zeros((SIZE, SIZE), bool)
    chosen[tuple(cells.T)] = True
    paid = maps[:, chosen].max(1) > (REWARD.low + REWARD.high) / 2
    peak = chosen.ravel()[maps.reshape(len(maps), -1).argmax(1)]
    return {"paid": float(paid.mean()), "peak": float(peak.mean())}


def imagined_shares(result: Results, imagined: Imagined) -> dict[str, Any]:
    """Return `shares` by dropout and test split, for maps.json."""
    maps = {"on": imagined.dropout_on, "off": imagined.dropout_off}
    return {
        "seed": result.living[0],
        "mixtures": len(imagined.weights),
        "masks": MASKS,
        "dropout": {
            state: {split: shares(m, goals(result, split)) for split in result.splits[1:]}
            for state, m in maps.items()
        },
    }


class Played(NamedTuple):
    """A trial: panels at the times [P]."""

    goal: np.ndarray  # [2]
    reached: bool  # at the N-th episode
    times: list[int]  # steps taken
    path: np.ndarray  # [T, 2] where each step led
    maps: np.ndarray | None  # [P, 7, 7] the belief's rewards, dropout on; None without belief


def map_errors(agents: list[Loaded]) -> list[dict[str, float]]:
    """Return for each seed of a run how wrong its belief is once the goal was shown, by split.

    The belief watches the agent's own greedy trial on every goal; then the decoder's map at
    the posterior's mean, dropout off, is compared with the truth: the sum over cells of
    `|p(goal) - truth|`, mean over those goals of the split that were reached; nan where none
    was. A map that pays nothing has error 1.
    """
    run, world, algorithm, _ = agents[0]
    belief = algorithm.belief
    assert belief is not None

    def error(params: Params, task: Array) -> Array:
        """Return one goal's error, nan if it was never reached."""
        key = jax.random.key(SEED)  # nothing here is random
        shown = adaptation(greedy(algorithm.agent), world, params, task, key)
        q = belief.posterior(params, memories(belief, params, shown.rollout.transitions)[-1])
        rewards = reward_map(belief, params, hyper(run).vae, q.mean, None)
        p = (rewards - REWARD.low) / (REWARD.high - REWARD.low)
        truth = jnp.zeros((SIZE, SIZE)).at[task[0], task[1]].set(1.0)
        return jnp.where(shown.reached.any(), jnp.abs(p - truth).sum(), jnp.nan)

    tasks = {split: world.eval_tasks(split) for split in world.splits}
    by_goal = jax.vmap(error, in_axes=(None, 0))
    measure = jax.jit(lambda params: {s: jnp.nanmean(by_goal(params, t)) for s, t in tasks.items()})
    return [{s: float(e) for s, e in measure(agent.params).items()} for agent in agents]


def play(loaded: Loaded, splits: Sequence[str]) -> Played:
    """Play every task of some splits greedily; return the farthest goal's trial that reached it."""
    run, world, (agent, *_), params = loaded
    horizon, belief = world.horizon // world.episodes, loaded.algorithm.belief
    tasks = jnp.concatenate([world.eval_tasks(split) for split in splits])
    keys = jax.random.split(jax.random.key(SEED), len(tasks))
    test = jax.vmap(lambda task, key: adaptation(greedy(agent), world, params, task, key))
    played = jax.jit(test)(tasks, keys)
    reached = np.asarray(played.reached[:, -1])
    chosen = int(np.argmax(np.asarray(tasks).sum(1) + 100 * reached))
    transitions = jax.tree.map(lambda x: x[chosen], played.rollout.transitions)
    ends = range(horizon, world.horizon + 1, horizon)
    times = [0, -(-horizon // 4), horizon // 2, *ends]
    maps = None
    if belief is not None:

        def believed(params: Params, key: Key) -> Array:
            hs = memories(belief, params, transitions)[jnp.array(times)]
            q, vae = belief.posterior(params, hs), hyper(run).vae
            keys = jax.random.split(key, len(times))
            show = lambda z, key: dropout_map(belief, params, vae, z, key)
            return jax.vmap(show)(q.mean, keys)

        maps = np.asarray(jax.jit(believed)(params, keys[0]))
    path = np.asarray(transitions.next_obs[:, :2])
    return Played(np.asarray(tasks[chosen]), bool(reached[chosen]), times, path, maps)


def goals(result: Results, split: str) -> np.ndarray:
    """Return a split's goal cells, [n, 2]."""
    return np.array([task["task"] for task in result.of_split(split)])
