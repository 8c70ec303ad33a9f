"""How a robot moves through a trial: an evaluation's own trials, state by state."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.locomotion.physics import State
from envs.locomotion.robot import Robot
from jaxmeta.agent import Agent, Params, greedy
from jaxmeta.env import Wrapper
from jaxmeta.errors import ConfigError
from jaxmeta.rollout import adaptation
from jaxmeta.rundir import reading
from jaxmeta.training.build import build_together, make_env
from jaxmeta.training.evaluation import evaluation_key, evaluation_tasks
from jaxmeta.training.result import load, stored_result
from jaxmeta.trial import Trial


class Motion(NamedTuple):
    """One trial on one task, its first T steps: all that belong to it."""

    task: dict[str, Any]  # as tasks.json has it
    qpos: np.ndarray  # [T, nq] before each step
    reward: np.ndarray  # [T]
    episode: np.ndarray  # [T] 0, 1, ...
    dt: float  # seconds of a step

    def velocity(self) -> np.ndarray:
        """Return the velocity along x in m/s, [T]; of an episode's last step nan."""
        velocity = np.diff(self.qpos[:, 0], append=np.nan) / self.dt
        return np.where(np.diff(self.episode, append=-1) == 0, velocity, np.nan)


def robot_of(env: Trial) -> Robot:
    """Return the robot inside an environment of trials.

    Raises:
      ConfigError: there is none.
    """
    robot = env.env
    while isinstance(robot, Wrapper):
        robot = robot.env
    if not isinstance(robot, Robot):
        raise ConfigError(
            "this run's environment is not a robot environment, as half-cheetah-velocity,"
            " ant-direction and ant-goal are"
        )
    return robot


def robot_state_of(state: Any) -> State:
    """Return the robot's state within its wrappers'."""
    while not isinstance(state, State):
        state = state.inner
    return state


def motions(
    agent: Agent, env: Trial, params: Params, chosen: list[int] | None = None
) -> list[list[Motion]]:
    """Return trials on the evaluation tasks with these indices, by default on all, by seed.

    They are an evaluation's first rollouts. `params` lead with the seeds.
    """
    robot = robot_of(env)
    tasks, described = evaluation_tasks(env)
    index = np.arange(len(described)) if chosen is None else np.asarray(chosen)

    def play(params: Params, i: Any) -> tuple[Any, Any]:
        task = jax.tree.map(lambda x: x[i], tasks)
        extra = lambda worker: robot_state_of(worker.state).qpos
        played = adaptation(agent, env, params, task, evaluation_key(i, 0), extra)
        return played.rollout.extras, played.rollout.transitions

    by_seed = jax.vmap(jax.vmap(play, in_axes=(None, 0)), in_axes=(0, None))
    qpos, tr = jax.device_get(jax.jit(by_seed)(params, jnp.asarray(index)))

    def motion(seed: int, k: int) -> Motion:
        steps = int(np.argmax(tr.over[seed, k])) + 1
        last = tr.last[seed, k, :steps]
        return Motion(
            task=described[index[k]],
            qpos=qpos[seed, k, :steps],
            reward=tr.env_reward[seed, k, :steps],
            episode=np.cumsum(last) - last,
            dt=robot.dt,
        )

    return [[motion(seed, k) for k in range(len(index))] for seed in range(len(qpos))]


def motions_of(path: Path, seeds: list[int]) -> dict[int, list[Motion]]:
    """Return how the last greedy agents of a run's seeds move on all evaluation tasks.

    Raises:
      ConfigError: no checkpoint, or code from a file is needed.
      CheckpointError: all checkpoints are damaged.
    """
    run = reading.read_run(path)
    reading.refuse_named_code(run)
    built = build_together([run.with_code()])
    env, found = built.env, stored_result(path, built)
    params = jax.tree.map(lambda x: x[np.array(seeds)], found.params)
    return dict(zip(seeds, motions(greedy(found.agent), env, params), strict=True))


def motion_on(path: Path, task: int, seed: int, which: str, policy: str) -> tuple[Trial, Motion]:
    """Return one trial of a run's agent on one evaluation task, and its environment.

    Raises:
      ConfigError: no checkpoint, no robot, no such seed, or code from a file is needed.
      CheckpointError: all checkpoints are damaged.
    """
    run = reading.read_run(path)
    reading.refuse_named_code(run)
    env = make_env(run)
    robot_of(env)  # refuses what has none
    agent, params = load(path, seed=seed, which=which)
    acting = greedy(agent) if policy == "greedy" else agent
    ((motion,),) = motions(acting, env, jax.tree.map(lambda x: x[None], params), [task])
    return env, motion
