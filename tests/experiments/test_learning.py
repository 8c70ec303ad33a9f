"""Real training runs: they must reach what is known to be reachable, and nothing beyond."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta
from experiments.analysis import reward_maps, run_record, trained_beliefs
from jaxmeta.agent import Agent
from jaxmeta.algorithm import hyper
from jaxmeta.rundir import evaluation_csv
from jaxmeta.training.evaluation import evaluate, evaluation_tasks

BEST_UNTOLD = 17.17  # mean first-episode return on the 18 goals, by the best route past all
OPTIMUM = 23.278  # the same with the goal known


def train(out, *options):
    """Train in a process of its own, compiled as users have it."""
    command = [sys.executable, "-m", "experiments", "train", "gridworld", "--out", str(out)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return evaluation_csv.read_evaluation(out)


def greedy_train_return(table, seed, episode):
    """Return the mean over goals, by evaluation."""
    rows = (table["policy"] == "greedy") & (table["split"] == "train") & (table["seed"] == seed)
    rows &= table["episode"] == episode
    frames = np.unique(table["frames"])
    return np.array([table["return"][rows & (table["frames"] == f)].mean() for f in frames])


@pytest.fixture(scope="module")
def rl2(tmp_path_factory):
    out = tmp_path_factory.mktemp("learning") / "rl2"
    options = "--method rl2 --frames 9e6 --seeds 2 --evaluation.every 300_000".split()
    return train(out, *options)


@pytest.mark.slow
def test_rl2_learns_the_training_goals(rl2):
    """It needs 6 to 8M frames; a seed may still waver, so the better one counts."""
    final = [greedy_train_return(rl2, seed, 4)[-6:].max() for seed in (0, 1)]
    assert max(final) >= 20


@pytest.mark.slow
def test_nobody_knows_the_goal_in_the_first_episode(rl2):
    for seed in (0, 1):
        assert greedy_train_return(rl2, seed, 1).max() <= BEST_UNTOLD + 0.01
        assert greedy_train_return(rl2, seed, 4).max() <= OPTIMUM + 0.01


def test_an_agent_that_is_given_the_goal_beats_that_bound():
    """The bound is one of knowledge: a scripted walk to the goal earns the optimum at once."""
    env = jaxmeta.make_env(jaxmeta.Run(method="rl2"))
    tasks, described = evaluation_tasks(env)
    untold = Agent(
        draw=lambda key: jnp.zeros(()),
        begin=lambda goal, noise: jnp.zeros(2, jnp.int8),
        act=lambda goal, cell, obs, noise: (walk(goal, cell), None),
        observe=lambda goal, cell, tr, noise: jnp.where(tr.last, 0, tr.next_obs[:2]).astype(
            jnp.int8
        ),
    )
    train_goals = tasks[jnp.array([t["split"] == "train" for t in described])]
    one = lambda goal: evaluate(untold, env, goal, goal[None], 1)["greedy"][0][0]
    first = np.asarray(jax.jit(jax.vmap(one))(train_goals))[:, 0]
    assert first.mean() == pytest.approx(OPTIMUM, abs=1e-3)
    assert first.mean() > BEST_UNTOLD


def walk(goal, cell):
    """Return right (2), up (1) or stay (0)."""
    return jnp.where(cell[0] < goal[0], 2, jnp.where(cell[1] < goal[1], 1, 0)).astype(jnp.int32)


def believed(folder):
    """Return p(goal) after each training task that a run's agent solves, [solved]."""
    loaded = trained_beliefs.load_final(run_record.read([folder])[0])
    env, params, belief = loaded.trial_env, loaded.params, loaded.algorithm.belief

    def one(goal, key):
        played = jaxmeta.adaptation(loaded.algorithm.agent, env, params, goal, key)
        memory = trained_beliefs.belief_states(belief, params, played.rollout.transitions)[-1]
        mean = belief.posterior(params, memory).mean
        rewards = reward_maps.dropout_map(belief, params, hyper(loaded.run).vae, mean, key)
        low, high = env.reward.low, env.reward.high
        return played.reached[-1], (rewards[goal[0], goal[1]] - low) / (high - low)

    goals = env.eval_tasks("train")
    keys = jax.random.split(jax.random.key(0), len(goals))
    solved, p = jax.jit(jax.vmap(one))(goals, keys)
    return np.asarray(p)[np.asarray(solved)]


def pays_a_test_cell(folder):
    """Return the share of imagined maps that reward some test cell, with dropout as in training."""
    result = run_record.read([folder])[0]
    shares = reward_maps.imagined_shares(
        result, reward_maps.imagine(trained_beliefs.load_final(result))
    )
    return shares["dropout"]["on"]["test"]["paid"]


@pytest.mark.slow
def test_ldms_belief_finds_the_goal_and_imagines_test_goals(tmp_path):
    train(tmp_path / "a", *"--frames 4e6 --vae.capacity 40_000 --evaluation.every 2e6".split())
    p = believed(tmp_path / "a")
    assert len(p) > 0
    assert p.mean() > 0.8
    assert pays_a_test_cell(tmp_path / "a") > 0.5
