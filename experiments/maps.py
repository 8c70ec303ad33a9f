"""Gridworld maps: returns by goal, the rewards that LDM imagines, a test trial and its belief.

Maps are [SIZE, SIZE], indexed by x and y.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax import lax
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from envs.gridworld import SIZE, Gridworld
from experiments.figures import STYLE, figure
from experiments.record import Results
from jaxmeta import rundir
from jaxmeta.agent import Params, Transition, greedy
from jaxmeta.algorithm import Algorithm, hyper, sample_tasks
from jaxmeta.belief import Belief, sample
from jaxmeta.config import Run
from jaxmeta.env import Array, Key
from jaxmeta.errors import ConfigError
from jaxmeta.imagine import mixture_weights
from jaxmeta.loading import build, load
from jaxmeta.rollout import adaptation, collect
from jaxmeta.sections import VAE
from jaxmeta.statistics import scores
from jaxmeta.trial import Trial

SEED = 0  # of what is drawn at random here
MASKS = 32  # dropout masks that a map is averaged over
BATCHES = 200  # groups of workers that the shares are counted over
SHOWN = 6  # mixtures drawn
REWARD = Gridworld.reward
CELLS = [(x, y, 0) for x in range(SIZE) for y in range(SIZE)]  # observations, flag 0
COLOUR_MAP = matplotlib.colormaps["viridis"]
RED, YELLOW = "#D40000", "#F0E442"


class Loaded(NamedTuple):
    """A run's final agent, one seed."""

    run: Run
    world: Trial
    algorithm: Algorithm
    params: Params


def load_final(result: Results) -> Loaded:
    """Return the final agent of a run's first living seed.

    Raises:
      ConfigError: there is no checkpoint, or it needs code from a file.
    """
    folder = result.path / rundir.CHECKPOINTS
    if not (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{result.path} holds no checkpoint")
    _, params = load(result.path, seed=result.living[0])
    return Loaded(result.run, *build(result.run), params)


def whose(results: list[Results]) -> str:
    """Return in words whose parameters a figure shows."""
    if len({result.living[0] for result in results}) == 1:
        return f"Seed {results[0].living[0]}"
    return ", ".join(f"{result.label}: seed {result.living[0]}" for result in results)


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


def memories(belief: Belief, params: Params, tr: Transition) -> Array:
    """Return the belief's memory before and after every step of one worker: [T] -> [T + 1, H]."""

    def remember(memory: Array, tr: Transition) -> tuple[Array, Array]:
        memory = belief.update(params, memory, tr.action, tr.seen, tr.reward)
        return memory, memory

    first = belief.begin(params)
    return jnp.concatenate([first[None], lax.scan(remember, first, tr)[1]])


class Imagined(NamedTuple):
    """Reward maps of M mixtures, and the mixtures."""

    dropout_on: Any  # [M, 7, 7] mean over masks
    dropout_off: Any  # [M, 7, 7]
    weights: Any  # [M, 7, 7] the weight of each goal cell, summed over workers who had it


def imagine(loaded: Loaded, batches: int = BATCHES) -> Imagined:
    """Mix the latents that workers hold at the end of a training trial, as LDM does."""
    run, world, algorithm, params = loaded
    hp, belief, mixes = hyper(run), algorithm.belief, run.imagination
    assert belief is not None

    def one_group(key: Key) -> Imagined:
        key_tasks, key_rollout, key_z, key_mixture, key_masks = jax.random.split(key, 5)
        tasks = sample_tasks(world, key_tasks, run.train_split, run.group)  # [W, 2]
        played = collect(algorithm.agent, world, params, tasks, key_rollout, run.train_split)
        by_worker = jax.vmap(lambda tr: memories(belief, params, tr), in_axes=1, out_axes=1)
        q = belief.posterior(params, by_worker(played.transitions)[-1])  # [W, L]
        noise = jax.random.normal(key_z, q.mean.shape)
        z = sample(q, noise) if mixes.latents == "samples" else q.mean
        weights, imagined = mixture_weights(key_mixture, hp.imagination, run.vae.latent)
        mixing = jnp.argsort(imagined, stable=True)[mixes.normal :]
        mixed = jnp.einsum("mwl,wl->ml", weights[mixing], z)  # (Eq. 1)
        keys = jax.random.split(key_masks, mixes.mixture)
        # Per-dimension weights are shown by their mean.
        at_goals = jax.vmap(
            lambda w: jnp.zeros((SIZE, SIZE)).at[tasks[:, 0], tasks[:, 1]].add(w.mean(-1))
        )
        return Imagined(
            jax.vmap(lambda z, key: dropout_map(belief, params, hp.vae, z, key))(mixed, keys),
            jax.vmap(lambda z: reward_map(belief, params, hp.vae, z, None))(mixed),
            at_goals(weights[mixing]),
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
    """A test trial: panels at the times [P]."""

    goal: np.ndarray  # [2]
    reached: bool  # at the N-th episode
    times: list[int]  # steps taken
    path: np.ndarray  # [T, 2] where each step led
    maps: np.ndarray | None  # [P, 7, 7] the belief's rewards, dropout on; None without belief


def play(loaded: Loaded) -> Played:
    """Play every test task greedily; return the trial of the farthest goal that was reached."""
    run, world, (agent, *_), params = loaded
    horizon, belief = world.horizon // world.episodes, loaded.algorithm.belief
    tasks = jnp.concatenate([world.eval_tasks(split) for split in world.splits[1:]])
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


def draw_map(axes: Axes, values: np.ndarray, scale: Normalize, result: Results) -> None:
    """Draw a map (nan: blank) with the training goals outlined and goalless cells hatched."""
    axes.imshow(values.T, origin="lower", cmap=COLOUR_MAP, norm=scale)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    possible = {tuple(task["task"]) for task in result.tasks}
    style: dict[str, Any] = {"edgecolor": "0.6", "hatch": "//////", "linewidth": 0}
    for x, y, _ in CELLS:
        if (x, y) not in possible:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, **style))
    style = {"edgecolor": "black", "path_effects": halo(2)}
    for x, y in goals(result, result.splits[0]):
        axes.add_patch(Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, fill=False, **style))


def halo(width: float, colour: str = "white") -> list[withStroke]:
    """Return a rim (points) that sets a mark apart from any background."""
    return [withStroke(linewidth=width, foreground=colour)]


def explain(drawn: Figure, grid: Any, scale: Normalize, quantity: str, note: str) -> None:
    """Add the colour bar that all maps share, and a note on what is drawn."""
    bar = drawn.colorbar(ScalarMappable(scale, COLOUR_MAP), ax=grid, shrink=0.8)
    bar.set_label(quantity)
    drawn.supxlabel(note, fontsize=8, color="0.35")


def write_numbers(axes: Axes, numbers: np.ndarray, form: str, shade: np.ndarray) -> None:
    """Write a map's numbers (nan: none) in black or white, whichever is read on its shade 0..1."""
    for (x, y), number in np.ndenumerate(numbers):
        if not np.isnan(number):
            ink = "black" if shade[x, y] > 0.6 else "white"
            axes.text(x, y, form % number, ha="center", va="center", fontsize=6, color=ink)


def cell_returns(result: Results) -> np.ndarray:
    """Return the greedy N-th episode's return by goal cell, over the last fifth and all seeds."""
    values = np.full((SIZE, SIZE), np.nan)
    for split in result.splits:
        by_task = scores(result.table("greedy", split), "return").mean(0)
        for goal, value in zip(goals(result, split), by_task, strict=True):
            values[tuple(goal)] = value
    return values


def draw_returns(results: list[Results]) -> Figure:
    """Draw the mean return by goal cell, a map per run (LDM's Figure 1c)."""
    first = results[0]
    low = REWARD.low * Gridworld.horizon
    scale = Normalize(low, max(task["best_return"] for task in first.tasks))
    with matplotlib.rc_context(STYLE):
        drawn = figure(2.6 * len(results) + 1.3, 3.4)
        grid: Any = drawn.subplots(1, len(results), squeeze=False)[0]
        for axes, result in zip(grid, results, strict=True):
            values = cell_returns(result)
            draw_map(axes, values, scale, result)
            write_numbers(axes, values, "%.1f", np.asarray(scale(values)))
            axes.set_title(result.label)
        note = (
            f"Goal cells by return ({low:.1f}: never on the goal); start at the lower left.\n"
            "Outlined: training goals. Hatched: never a goal."
        )
        quantity = f"mean return, episode {first.run.trial.episodes}"
        explain(drawn, list(grid), scale, quantity, note)
    return drawn


def draw_imagined(found: list[tuple[Results, Imagined]]) -> Figure:
    """Draw imagined rewards (LDM's Figure 4): two rows per run, dropout on and off."""
    scale = Normalize(REWARD.low, REWARD.high)
    shown = min(SHOWN, *(len(imagined.weights) for _, imagined in found))
    with matplotlib.rc_context(STYLE):
        drawn = figure(1.75 * shown + 1.4, 3.8 * len(found) + 0.5)
        grid: Any = drawn.subplots(2 * len(found), shown, squeeze=False)
        states = [
            (r, i.weights, s, m)
            for r, i in found
            for s, m in zip(("on", "off"), i[:2], strict=True)
        ]
        for axes_row, (result, weights, state, maps) in zip(grid, states, strict=True):
            for k, axes in enumerate(axes_row):
                draw_mixture(axes, maps[k], weights[k], scale, result)
            axes_row[0].set_ylabel(f"{result.label}\ndropout {state}")
        note = (
            "Mixtures of latents from the end of training trials. Numbers: weights of their goals"
            " in percent, the largest three above.\nCross: highest reward. Outlined: training"
            f" goals. Hatched: never a goal. Dropout on: mean of {MASKS} masks."
            f" {whose([result for result, _ in found])}."
        )
        explain(drawn, grid, scale, "imagined reward", note)
    return drawn


def draw_mixture(
    axes: Axes, rewards: np.ndarray, weights: np.ndarray, scale: Normalize, result: Results
) -> None:
    """Draw one imagined map, its goals' weights and a cross on its maximum."""
    draw_map(axes, rewards, scale, result)
    numbers = np.where(np.abs(weights) >= 0.005, np.round(100 * weights), np.nan)
    write_numbers(axes, numbers, "%.0f", np.asarray(scale(rewards)))
    x, y = np.unravel_index(rewards.argmax(), rewards.shape)
    axes.plot(x, y, "x", color=RED, markersize=8, markeredgewidth=1.8, path_effects=halo(4))
    top = np.argsort(weights, axis=None)[::-1][:3]
    cells = [np.unravel_index(i, weights.shape) for i in top]
    title = "  ".join(f"{weights[x, y]:.2f} ({x},{y})" for x, y in cells)
    axes.set_title(title, fontsize=6)


def draw_trials(found: list[tuple[Results, Played]]) -> Figure:
    """Draw a test trial over time, a row per run (LDM's Figure 8a)."""
    scale = Normalize(REWARD.low, REWARD.high)
    columns = len(found[0][1].times)
    with matplotlib.rc_context(STYLE):
        drawn = figure(1.45 * columns + 1.8, 1.55 * len(found) + 0.9)
        grid: Any = drawn.subplots(len(found), columns, squeeze=False)
        for axes_row, (result, played) in zip(grid, found, strict=True):
            for k, axes in enumerate(axes_row):
                blank = np.full((SIZE, SIZE), np.nan)
                draw_map(axes, blank if played.maps is None else played.maps[k], scale, result)
                draw_path(axes, played, played.times[k])
            outcome = "reached" if played.reached else "not reached"
            x, y = played.goal
            axes_row[0].set_ylabel(f"{result.label}\ngoal ({x}, {y})\n{outcome}", fontsize=8)
        for axes, t in zip(grid[0], found[0][1].times, strict=True):
            axes.set_title(f"t = {t}\nepisode {running_episode(t) + 1}", fontsize=8)
        note = (
            "Line: the running episode's path up to step t, from the lower left; dot: the agent;"
            " star: the test goal.\nBelow it: the decoder's reward at the belief's mean, averaged"
            f" over {MASKS} dropout masks (blank: no belief)."
            f" {whose([result for result, _ in found])}, greedy."
        )
        explain(drawn, grid, scale, "believed reward", note)
    return drawn


def running_episode(t: int) -> int:
    """Return the episode, from 0, that the t-th step belongs to."""
    return max(t - 1, 0) // Gridworld.horizon


def draw_path(axes: Axes, played: Played, t: int) -> None:
    """Draw the running episode's path up to step t; every episode starts in the corner."""
    begin = running_episode(t) * Gridworld.horizon
    x, y = np.concatenate([np.zeros((1, 2), int), played.path[begin:t]]).T
    axes.plot(x, y, color="white", linewidth=1.8, path_effects=halo(3.2, "black"))
    axes.plot(*played.goal, "*", color=YELLOW, markeredgecolor="black", markersize=13)
    axes.plot(x[-1], y[-1], "o", color=RED, markeredgecolor="white", markersize=5)
