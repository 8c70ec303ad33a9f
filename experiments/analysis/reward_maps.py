"""Gridworld maps: LDM's imagined rewards, a trial and its belief, the errors of beliefs.

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
from experiments.analysis.trained_beliefs import LoadedAgent, belief_states, mix
from jaxmeta.agent import Belief, Params, greedy
from jaxmeta.algorithm import hyper
from jaxmeta.beliefs.options import VAE
from jaxmeta.env import Array, Key
from jaxmeta.rollout import adaptation

SEED = 0  # of all random numbers here
MASKS = 32  # dropout masks that a map is averaged over
BATCHES = 200  # groups of workers that the shares are counted over
REWARD = Gridworld.reward
CELLS = [(x, y, 0) for x in range(SIZE) for y in range(SIZE)]  # observations, flag 0


def reward_map(belief: Belief, params: Params, vae: VAE, z: Array, bits: Array | None) -> Array:
    """Return the decoded reward [7, 7] of staying on each cell, for the latent z [L].

    `bits` [49, width] are the bytes of dropout masks, None: no dropout.
    """

    def reward_at(cell: Array, bits: Array | None) -> Array:
        return belief.imagine(params, z, cell, jnp.zeros((), jnp.int32), cell, bits, vae)

    return jax.vmap(reward_at)(jnp.array(CELLS, jnp.int8), bits).reshape(SIZE, SIZE)


def dropout_map(belief: Belief, params: Params, vae: VAE, z: Array, key: Key) -> Array:
    """Return `reward_map` averaged over MASKS dropout masks, redrawn for every cell."""
    keys = jax.random.split(key, (MASKS, len(CELLS)))
    bits = jax.vmap(jax.vmap(lambda key: belief.draw(key)[1]))(keys)
    return jax.vmap(lambda bits: reward_map(belief, params, vae, z, bits))(bits).mean(0)


class Imagined(NamedTuple):
    """Reward maps of M mixtures, and the mixtures."""

    dropout_on: Any  # [M, 7, 7] mean over masks
    dropout_off: Any  # [M, 7, 7]
    weights: Any  # [M, 7, 7] the weight of each goal cell, summed over workers that had it


def imagine(loaded: LoadedAgent, batches: int = BATCHES) -> Imagined:
    """Return the reward maps of mixtures of the latents at the end of training trials."""
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
    """Return the shares of maps [M, 7, 7] that reward some of the cells, or have their peak there.

    A cell is rewarded if its reward is above the middle of low and high: p(goal) > 0.5.
    """
    chosen = np.zeros((SIZE, SIZE), bool)
    chosen[tuple(cells.T)] = True
    is_rewarded = maps[:, chosen].max(1) > (REWARD.low + REWARD.high) / 2
    has_peak = chosen.ravel()[maps.reshape(len(maps), -1).argmax(1)]
    return {"paid": float(is_rewarded.mean()), "peak": float(has_peak.mean())}


def imagined_shares(result: Results, imagined: Imagined) -> dict[str, Any]:
    """Return `shares` by dropout and test split, for maps.json."""
    maps = {"on": imagined.dropout_on, "off": imagined.dropout_off}
    return {
        "seed": result.finite_seeds[0],
        "mixtures": len(imagined.weights),
        "masks": MASKS,
        "dropout": {
            state: {split: shares(m, goals(result, split)) for split in result.splits[1:]}
            for state, m in maps.items()
        },
    }


class PlottedTrial(NamedTuple):
    """A trial: panels at the times [P]."""

    goal: np.ndarray  # [2]
    reached: bool  # at the N-th episode
    times: list[int]  # steps taken
    path: np.ndarray  # [T, 2] the cell after each step
    maps: np.ndarray | None  # [P, 7, 7] the belief's rewards, dropout on; None without belief


def map_errors(agents: list[LoadedAgent]) -> list[dict[str, float]]:
    """Return for each seed of a run its belief's error after a trial that found the goal, by split.

    The belief is inferred from the agent's own greedy trial on every goal; then the decoder's
    map at the posterior's mean, dropout off, is compared with the true one: the sum over cells
    of `|p(goal) - truth|`, mean over those goals of the split that were reached; nan where none
    was. An all-zero map has error 1.
    """
    run, trial_env, algorithm, _ = agents[0]
    belief = algorithm.belief
    assert belief is not None

    def error(params: Params, task: Array) -> Array:
        """Return one goal's error, nan if it was never reached."""
        key = jax.random.key(SEED)  # nothing here is random
        trial = adaptation(greedy(algorithm.agent), trial_env, params, task, key)
        q = belief.posterior(params, belief_states(belief, params, trial.rollout.transitions)[-1])
        rewards = reward_map(belief, params, hyper(run).vae, q.mean, None)
        p = (rewards - REWARD.low) / (REWARD.high - REWARD.low)
        truth = jnp.zeros((SIZE, SIZE)).at[task[0], task[1]].set(1.0)
        return jnp.where(trial.reached.any(), jnp.abs(p - truth).sum(), jnp.nan)

    tasks = {split: trial_env.eval_tasks(split) for split in trial_env.splits}
    by_goal = jax.vmap(error, in_axes=(None, 0))
    measure = jax.jit(lambda params: {s: jnp.nanmean(by_goal(params, t)) for s, t in tasks.items()})
    return [{s: float(e) for s, e in measure(agent.params).items()} for agent in agents]


def best_trial(loaded: LoadedAgent, splits: Sequence[str]) -> PlottedTrial:
    """Run greedy trials on the splits' tasks; return the successful one with the farthest goal."""
    run, trial_env, (agent, *_), params = loaded
    horizon, belief = trial_env.horizon // trial_env.episodes, loaded.algorithm.belief
    tasks = jnp.concatenate([trial_env.eval_tasks(split) for split in splits])
    keys = jax.random.split(jax.random.key(SEED), len(tasks))
    run_trials = jax.vmap(lambda task, key: adaptation(greedy(agent), trial_env, params, task, key))
    played = jax.jit(run_trials)(tasks, keys)
    reached = np.asarray(played.reached[:, -1])
    chosen = int(np.argmax(np.asarray(tasks).sum(1) + 100 * reached))
    transitions = jax.tree.map(lambda x: x[chosen], played.rollout.transitions)
    ends = range(horizon, trial_env.horizon + 1, horizon)
    times = [0, -(-horizon // 4), horizon // 2, *ends]
    maps = None
    if belief is not None:

        def belief_maps(params: Params, key: Key) -> Array:
            hs = belief_states(belief, params, transitions)[jnp.array(times)]
            q, vae = belief.posterior(params, hs), hyper(run).vae
            keys = jax.random.split(key, len(times))
            one_map = lambda z, key: dropout_map(belief, params, vae, z, key)
            return jax.vmap(one_map)(q.mean, keys)

        maps = np.asarray(jax.jit(belief_maps)(params, keys[0]))
    path = np.asarray(transitions.next_obs[:, :2])
    return PlottedTrial(np.asarray(tasks[chosen]), bool(reached[chosen]), times, path, maps)


def goals(result: Results, split: str) -> np.ndarray:
    """Return a split's goal cells, [n, 2]."""
    return np.array([task["task"] for task in result.of_split(split)])
