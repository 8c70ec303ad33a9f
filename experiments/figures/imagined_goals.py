"""The goals that mixture workers imagine, in tasks of walking to a goal."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax import lax
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from envs.locomotion.ant import EDGE, INNER, OUTER
from envs.locomotion.robot import Robot
from experiments.analysis.robot_motion import robot_of
from experiments.analysis.trained_beliefs import LoadedAgent, mix
from experiments.figures.style import STYLE, figure
from jaxmeta.agent import Belief, Params
from jaxmeta.algorithm import hyper
from jaxmeta.beliefs.options import VAE
from jaxmeta.env import Array, Key

BETAS = (1.0, 2.0)
SEED = 0
REACH, GRID_SIZE = 4.0, 41  # the grid of candidate goals: metres from its centre; points per side
BATCHES = 50  # groups of workers


def grid_positions() -> np.ndarray:
    """Return the candidate goals, [GRID_SIZE^2, 2] metres."""
    side = np.linspace(-REACH, REACH, GRID_SIZE)
    return np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)


def argmax_reward_position(
    belief: Belief, params: Params, vae: VAE, robot: Robot, z: Array
) -> Array:
    """Return the position [2] with the highest decoded reward for the latent z [L]; dropout off."""
    still = jnp.zeros(robot.physics.model.nu)

    def reward_at(position: Array) -> Array:
        state = robot.physics.begin(robot.qpos0.at[:2].set(position), jnp.zeros(robot.nv))
        obs = jnp.append(robot.observe(state, still), 0.0)  # the flag of an episode's end
        return belief.imagine(params, z, obs, still, obs, None, vae)

    positions = jnp.asarray(grid_positions(), jnp.float32)
    return positions[jnp.argmax(jax.vmap(reward_at)(positions))]


def imagined_goals(loaded: LoadedAgent, beta: float, batches: int = BATCHES) -> np.ndarray:
    """Return the goals of mixtures drawn with `beta`, [M, 2]."""
    run, trial_env, algorithm, params = loaded
    belief = algorithm.belief
    assert belief is not None
    hp, robot = hyper(run), robot_of(trial_env)
    imagination = dataclasses.replace(hp.imagination, beta=jnp.float32(beta))

    def one_group(key: Key) -> Array:
        goal = lambda z: argmax_reward_position(belief, params, hp.vae, robot, z)
        return jax.vmap(goal)(mix(loaded, imagination, key).z)

    keys = jax.random.split(jax.random.key(SEED), batches)
    return np.asarray(jax.jit(lambda keys: lax.map(one_group, keys))(keys)).reshape(-1, 2)


def share_of_test(goals: np.ndarray) -> float:
    """Return how many goals [M, 2] lie where test tasks do."""
    radius = np.linalg.norm(goals, axis=1)
    return float(((radius >= INNER) & (radius < OUTER)).mean())


def draw_goals(found: dict[str, np.ndarray]) -> Figure:
    """Draw sets of imagined goals, by title, over the areas of training goals."""
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.2 * len(found) + 0.4, 3.7)
        grid: Any = drawn.subplots(1, len(found), squeeze=False)[0]
        for axes, (title, goals) in zip(grid, found.items(), strict=True):
            for radius, colour in ((EDGE, "0.9"), (OUTER, "white"), (INNER, "0.9")):
                axes.add_patch(Circle((0, 0), radius, facecolor=colour, edgecolor="0.7"))
            axes.plot(*goals.T, ".", color="#D55E00", alpha=0.5)
            axes.set_xlim(-REACH, REACH)
            axes.set_ylim(-REACH, REACH)
            axes.set_aspect("equal")
            axes.set_title(f"{title}: {share_of_test(goals):.0%} among test goals")
            axes.set_xlabel("x, m")
        grid[0].set_ylabel("y, m")
        note = "Dots: a mixture's highest decoded reward, dropout off. Grey: training goals."
        drawn.supxlabel(note, fontsize=8, color="0.35")
    return drawn
