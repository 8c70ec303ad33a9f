"""The loop of off-policy methods: tasks and their ids, the replay, when learning begins."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta
from jaxmeta.algorithm import hyper
from jaxmeta.beliefs.mixture_belief import mixture_belief
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError, NonFiniteError
from jaxmeta.nn.cache_blocks import WINDOWS_PER_BLOCK
from jaxmeta.nn.optimisers import repeat_steps
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import to_rows
from jaxmeta.rl.off_policy import sample_transitions, task_ids
from jaxmeta.training.build import build
from tests.probes import Steer
from tests.tiny import OFF_POLICY, STEER, tiny_run

every_method = pytest.mark.parametrize("method", OFF_POLICY)


def started(method, overrides=()):
    run = tiny_run(method, {"seeds": 1} | dict(overrides))
    env, algorithm = build(run)
    return run, env, algorithm, algorithm.init(jax.random.key(0), hyper(run))


@functools.cache
def compiled(method):
    """Return a method that learns from its third update on, its step and its rollout."""
    run, _, algorithm, state = started(method, {"replay.initial": 65})
    return run, state, jax.jit(algorithm.step), jax.jit(algorithm.collect)


def test_equal_tasks_have_one_id():
    tasks = {"a": jnp.array([2.0, 1.0, 2.0, 2.0]), "b": jnp.array([[0, 1], [0, 1], [0, 1], [1, 1]])}
    np.testing.assert_array_equal(task_ids(tasks), [0, 1, 0, 3])


def test_repeat_steps_takes_count_steps_and_averages():
    step = lambda total, key: (total + 1, {"total": total.astype(jnp.float32)})
    run = jax.jit(lambda count: repeat_steps(count, step, jnp.int32(0), jax.random.key(0)))
    assert run(4)[0] == 4
    assert run(4)[1]["total"] == (0 + 1 + 2 + 3) / 4
    assert run(0)[1]["total"] == 0


@every_method
def test_workers_run_in_different_training_tasks(method):
    run, state, _, collect = compiled(method)
    rollout, ids = collect(state)
    chex.assert_shape(rollout.transitions.reward, (8, run.workers))
    assert set(ids.tolist()) <= set(task_ids(state.tasks).tolist())
    # Each reward is that of the task with this id.
    reward_of = lambda action, task: Steer().step(None, jnp.zeros(1), action, task)[1].reward
    over = jax.jit(jax.vmap(jax.vmap(reward_of, (0, None)), (1, 0), 1))
    expected = over(rollout.transitions.action, jax.tree.map(lambda x: x[ids], state.tasks))
    np.testing.assert_allclose(rollout.transitions.reward, expected, atol=1e-6)


@every_method
def test_rollouts_are_stored(method):
    _, state, step, collect = compiled(method)
    rollout, ids = collect(state)
    after, _ = step(state)
    rows = after.replay.data
    count = len(ids)
    assert after.replay.seen == count
    np.testing.assert_array_equal(rows.task[:count], ids)
    np.testing.assert_array_equal(rows.reward[:count], rollout.transitions.reward.T)
    np.testing.assert_array_equal(rows.obs[:count, :-1], np.swapaxes(rollout.transitions.obs, 0, 1))


@pytest.mark.parametrize("window", [0, 3])
def test_sac_reads_the_rollouts_transitions_and_beliefs(window):
    run, env, algorithm, state = started("moss", {"inference.window": window})
    belief = mixture_belief(env, run)
    rollout, ids = jax.jit(algorithm.collect)(state)
    tr = rollout.transitions
    replay = ring_buffer.add(state.replay, to_rows(tr, ids), "ring")
    params = belief.update_normalisers(state.params, tr)
    draw = jax.jit(functools.partial(sample_transitions, belief, env.horizon, 40))
    pool = jax.device_get(draw(params, replay, jax.random.key(1)))
    assert 40 <= len(pool.reward) < 40 + WINDOWS_PER_BLOCK["cpu"]

    whole = mixture_belief(env, run.replace({"inference.window": 0}))
    observe = jax.jit(whole.observe)

    def features(w, first, end):
        """Return an agent's belief after a worker's steps from `first` on."""
        memory = whole.begin(params)
        for t in range(first, end):
            memory = observe(params, memory, jax.tree.map(lambda x, t=t: x[t, w], tr))
        return whole.features(params, whole.hidden(params, memory), jnp.zeros(whole.feature_size))

    for i in range(0, 40, 5):
        t, w = (int(x[0]) for x in np.nonzero(np.asarray(tr.reward) == pool.reward[i]))
        np.testing.assert_array_equal(pool.obs[i], tr.obs[t, w])
        np.testing.assert_array_equal(pool.action[i], tr.action[t, w])
        np.testing.assert_array_equal(pool.next_obs[i], tr.seen[t, w])
        first = max(t - window, 0) if window else 0
        np.testing.assert_allclose(pool.belief[i], features(w, first, t), atol=1e-5)
        np.testing.assert_allclose(pool.next_belief[i], features(w, first, t + 1), atol=1e-5)


@every_method
def test_nothing_is_learned_before_there_is_enough(method):
    """Two updates bring 64 steps; the third is the first to learn from them."""
    _, state, step, _ = compiled(method)
    for update in range(3):
        after, metrics = step(state)
        trained = [after.params[name] for name in ("actor", "critics", "encoder", "decoder")]
        before = [state.params[name] for name in ("actor", "critics", "encoder", "decoder")]
        if update < 2:
            chex.assert_trees_all_equal(trained, before)
            assert metrics["value_loss"] == 0
        else:
            for a, b in zip(trained, before, strict=True):
                with pytest.raises(AssertionError):
                    chex.assert_trees_all_equal(a, b)
        state = after


@every_method
def test_no_gradient_of_rl_reaches_the_belief(method):
    """Another learning rate of SAC changes the policy after an update, no bit of the belief."""
    run, state, step, _ = compiled(method)
    for _ in range(2):
        state, _ = step(state)
    beliefs, actors = [], []
    for rate in (1e-3, 1e-1):
        hp = hyper(run.replace({"sac.learning_rate": rate}))
        after, _ = step(state._replace(hp=hp))
        beliefs.append([after.params["encoder"], after.params["decoder"]])
        actors.append(after.params["actor"])
    chex.assert_trees_all_equal(*beliefs)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(*actors)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"env": "gridworld"}, "rl = 'sac': needs an environment with continuous actions"),
        ({"replay.mebibytes": 1, "workers": 100_000}, "replay.mebibytes = 1: must hold"),
    ],
)
@every_method
def test_what_cannot_work_is_refused(method, overrides, message):
    chosen = {"env": STEER, "frames": 10_000_000} | {
        name: x for name, x in overrides.items() if name == "env"
    }
    run = Run(method=method, **chosen)
    run = run.replace({name: x for name, x in overrides.items() if name != "env"})
    with pytest.raises(ConfigError, match=message):
        build(run)


def test_sac_and_its_methods_go_together():
    with pytest.raises(ConfigError, match="rl = 'ppo': moss supports sac"):
        Run(env=STEER, method="moss", rl="ppo")
    with pytest.raises(ConfigError, match="rl = 'sac': rl2 supports a2c or ppo"):
        Run(env=STEER, method="rl2", rl="sac")


def test_beliefs_that_change_by_episode_need_several():
    with pytest.raises(ConfigError, match=r"inference\.level = 'episode': must be step with"):
        Run(env=STEER, method="moss").replace({"inference.level": "episode"})


def test_variBAD_is_not_shown_starts():
    run = tiny_run("varibad-off-policy", {"trial.boundary": "start"})
    with pytest.raises(ConfigError, match=r"trial\.boundary = 'start': must be terminal"):
        build(run)


def test_the_replays_capacity_is_that_of_the_whole_run():
    run, env, _, state = started("moss", {"frames": 4 * 8 * 50})
    assert state.replay.data.reward.shape == (4 * 50, env.horizon)
    assert run.replay.mebibytes * 2**20 > sum(x.nbytes for x in jax.tree.leaves(state.replay))


class Stopped(Exception):
    """Stands for a crash."""


def crash(status):
    if status.frames >= 480:
        raise Stopped


@pytest.mark.slow
def test_a_crashed_run_goes_on_to_the_same_bits(tmp_path):
    run = tiny_run("moss", {"frames": 960, "log_every": 160, "evaluation.every": 320})
    with pytest.raises(Stopped):
        jaxmeta.train(run, tmp_path / "crashed", watch=crash, checkpoint_every="4u")
    crashed = jaxmeta.train(run, tmp_path / "crashed", checkpoint_every="4u")
    whole = jaxmeta.train(run, tmp_path / "whole")
    chex.assert_trees_all_equal(crashed.params, whole.params)
    for name, column in whole.evaluation.items():
        np.testing.assert_array_equal(crashed.evaluation[name], column)


@pytest.mark.slow
def test_a_diverging_run_says_where(tmp_path):
    run = tiny_run("moss", {"frames": 960, "sac.reward_scale": 1e38, "seeds": 1})
    with pytest.raises(NonFiniteError, match="update 0, seed 0: grad_norm is not finite"):
        jaxmeta.train(run, tmp_path / "a")
