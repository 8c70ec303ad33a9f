"""Environments of gymnax as families, step by step against gymnax's own `step`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta
from envs.adapters.from_gymnax import from_gymnax
from jaxmeta.env import Binary, Box, Discrete, Real
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import reading
from jaxmeta.trial import trial

gymnax = pytest.importorskip("gymnax")  # not locked for Python 3.12
CHANGED = {
    "CartPole-v1": ("force_mag", (10.0, -10.0, 25.0)),
    "Pendulum-v1": ("max_torque", (2.0, 0.5, 8.0)),
    "GaussianBandit-misc": ("normalize_time", (True, False, True)),  # rewards are random
    "FrozenLake-misc": ("max_steps_in_episode", (5, 9, 7)),  # observations are numbers
}
BUILT_IN = sorted(set(gymnax.registered_envs) - {"MNISTBandit-bsuite"})  # which downloads
LARGE = {f"{game}-MinAtar" for game in ("Asterix", "Freeway", "Seaquest", "SpaceInvaders")}


@functools.cache
def family(name):
    """Return gymnax's environment, its params by task, and the family of them."""
    env, params = gymnax.make(name)
    field, values = CHANGED[name]
    tasks = [params.replace(**{field: value}) for value in values]
    choose = lambda key, split: params.replace(
        **{field: jnp.array(values)[jax.random.randint(key, (), 0, len(values))]}
    )
    return env, tasks, from_gymnax(env, choose, {"train": tasks[:2], "test": tasks[2:]})


def seen(env, params, obs):
    """Return an observation of gymnax as a vector."""
    space = env.observation_space(params)
    return np.eye(space.n)[int(obs)] if hasattr(space, "n") else np.ravel(obs)


def actions_of(env, params, steps):
    """Return random actions, a third of the vectors on the space's bounds."""
    keys = jax.random.split(jax.random.key(5), steps)
    drawn = jax.vmap(env.action_space(params).sample)(keys)
    scaled = lambda space: np.clip(1.5 * drawn, space.low, space.high).astype(np.float32)
    return np.asarray(drawn) if drawn.ndim == 1 else scaled(env.action_space(params))


@pytest.mark.parametrize("name", CHANGED)
def test_every_step_is_gymnaxs_own_until_an_episode_ends(name):
    env, tasks, ours = family(name)
    batch = jax.tree.map(lambda *xs: jnp.concatenate(xs), *map(ours.eval_tasks, ours.splits))
    start = jax.random.split(jax.random.key(1), 3)
    state, obs = jax.vmap(ours.reset)(start, batch)
    keys = jax.random.split(jax.random.key(2), (3, 300))
    actions = np.stack([actions_of(env, params, 300) for params in tasks])

    def step(state, xs):
        noise, action, task = xs
        return jax.vmap(ours.step)(noise, state, action, task)

    noise = jax.vmap(jax.vmap(lambda key: jax.random.split(key)[0]))(keys)  # gymnax splits, too
    by_time = lambda x: jnp.swapaxes(x, 0, 1)
    repeated = jax.tree.map(lambda x: jnp.stack([x] * 300), batch)
    xs = (by_time(noise), by_time(jnp.asarray(actions)), repeated)
    _, steps = jax.jit(lambda state: jax.lax.scan(step, state, xs))(state)
    ends = []
    for i, params in enumerate(tasks):
        first, their = env.reset(start[i], params)
        np.testing.assert_allclose(obs[i], seen(env, params, first), rtol=1e-6)
        with jax.numpy_rank_promotion("allow"):
            for t in range(300):
                taken = env.step(keys[i, t], their, actions[i, t], params)
                _, their, reward, ended, late, info = taken
                mine = jax.tree.map(lambda x, t=t, i=i: np.asarray(x)[t, i], steps)
                np.testing.assert_allclose(mine.reward, reward, rtol=1e-4, atol=1e-4)
                last = seen(env, params, info["final_observation"])
                np.testing.assert_allclose(mine.next_obs, last, rtol=1e-4, atol=1e-4)
                assert (mine.last, mine.discount) == (ended or late, 1 - ended)
                assert mine.limit == (late and not ended)
                if ended or late:
                    ends.append((t + 1, bool(ended)))
                    break
    assert len(ends) == 3
    if name == "CartPole-v1":
        assert all(ended for _, ended in ends) and len(set(ends)) > 1
    if name == "Pendulum-v1":
        assert ends == [(200, False)] * 3


def test_a_limit_of_gymnax_is_no_end_of_the_mdp_in_a_trial():
    ours = family("Pendulum-v1")[2]
    assert ours.horizon == 200
    trial_env = trial(ours, 2)
    task = jax.tree.map(lambda x: x[0], ours.eval_tasks("test"))
    noise = jax.vmap(trial_env.draw)(jax.random.split(jax.random.key(1), 400))
    state, _ = trial_env.reset(jax.random.key(0), task)
    go = lambda state, noise: trial_env.step(noise, state, jnp.zeros(1), task)
    _, steps = jax.jit(lambda: jax.lax.scan(go, state, noise))()
    assert np.flatnonzero(steps.last).tolist() == [199, 399]
    assert np.flatnonzero(steps.limit).tolist() == [199, 399]


def test_spaces_horizon_and_reward_are_gymnaxs():
    _, tasks, cartpole = family("CartPole-v1")
    assert (cartpole.obs_space.shape, cartpole.action_space) == ((4,), Discrete(2))
    assert (cartpole.horizon, cartpole.reward, cartpole.fixed_length) == (500, Real(), False)
    assert family("Pendulum-v1")[2].action_space == Box((1,), -2.0, 2.0)
    assert family("FrozenLake-misc")[2].obs_space == Box((16,), 0.0, 1.0)
    assert family("FrozenLake-misc")[2].horizon == 9
    env, _ = gymnax.make("CartPole-v1")
    given = from_gymnax(
        env,
        lambda key, split: tasks[0],
        {"a": tasks},
        horizon=7,
        reward=Binary(0, 1),
        fixed_length=True,
    )
    assert (given.horizon, given.reward, given.fixed_length) == (7, Binary(0, 1), True)
    assert given.splits == ("a",)


def test_tasks_are_the_given_ones_and_drawn_ones_have_their_form():
    ours = family("CartPole-v1")[2]
    assert ours.eval_tasks("train").force_mag.tolist() == [10, -10]
    assert ours.eval_tasks("test").force_mag.tolist() == [25]
    keys = jax.random.split(jax.random.key(0), 99)
    drawn = jax.jit(jax.vmap(lambda key: ours.sample_task(key, "train")))(keys)
    assert set(drawn.force_mag.tolist()) == {10, -10, 25}
    types = lambda tree: [(x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]
    assert types(drawn) == types(ours.eval_tasks("train"))


def test_a_number_that_is_whole_by_chance_loses_nothing():
    env, params = gymnax.make("CartPole-v1")
    draw = lambda key, split: params.replace(length=0.5 + jax.random.uniform(key))
    ours = from_gymnax(env, draw, {"train": [params.replace(length=1)]})
    assert float(ours.sample_task(jax.random.key(0), "train").length) % 1 > 0


def test_vectors_beyond_the_space_are_clipped_to_the_tasks():
    ours = family("Pendulum-v1")[2]
    for task in (jax.tree.map(lambda x, i=i: x[i], ours.eval_tasks("train")) for i in (0, 1)):
        state, _ = ours.reset(jax.random.key(0), task)
        _, far = ours.step(jax.random.key(1), state, jnp.array([100.0]), task)
        _, at = ours.step(jax.random.key(1), state, task.max_torque[None], task)
        np.testing.assert_array_equal(far.obs, at.obs)


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x in LARGE)) for x in BUILT_IN]
)
def test_every_environment_of_gymnax_runs_through_a_trial(name):
    env, params = gymnax.make(name)
    ours = from_gymnax(env, lambda key, split: params, {"train": [params]}, horizon=4)
    trial_env = trial(ours, 2)
    task = ours.sample_task(jax.random.key(0), "train")
    noise = jax.vmap(trial_env.draw)(jax.random.split(jax.random.key(1), 8))
    start, obs = trial_env.reset(jax.random.key(2), task)
    action = jnp.zeros(getattr(ours.action_space, "shape", ()))
    action = action if isinstance(ours.action_space, Box) else action.astype(int)
    go = lambda state, noise: trial_env.step(noise, state, action, task)
    _, steps = jax.lax.scan(go, start, noise)
    assert steps.obs.shape == (8, *trial_env.obs_space.shape)
    assert steps.obs.dtype == obs.dtype == trial_env.obs_space.dtype
    assert np.isfinite(steps.obs).all() and np.isfinite(steps.reward).all()


def refusal(**changed):
    env, params = gymnax.make("CartPole-v1")
    given = {"env": env, "sample_params": lambda key, split: params, "eval_params": {"a": [params]}}
    with pytest.raises(ConfigError) as error:
        from_gymnax(**{**given, **changed})
    return str(error.value)


def test_bad_input_is_named():
    pendulum = gymnax.make("Pendulum-v1")[1]
    cartpole = gymnax.make("CartPole-v1")[1]
    assert "every split must have a task" in refusal(eval_params={})
    assert "every split must have a task" in refusal(eval_params={"a": [cartpole], "b": []})
    assert "params: must differ in numbers only" in refusal(eval_params={"a": [pendulum]})
    assert "horizon = 501: must be 1 to 500" in refusal(horizon=501)
    assert "horizon = 0" in refusal(horizon=0)
    short = {"a": [cartpole, cartpole.replace(max_steps_in_episode=9)]}
    assert "horizon = 500: must be 1 to 9" in refusal(eval_params=short, fixed_length=True)


def test_spaces_of_several_parts_are_refused():
    env, _ = gymnax.make("CartPole-v1")

    class Odd(type(env)):
        def observation_space(self, params):
            return gymnax.environments.spaces.Dict({})

    class Picture(type(env)):
        def action_space(self, params):
            return gymnax.environments.spaces.Box(0, 1, (2, 2))

    assert "observations must be one array" in refusal(env=Odd())
    assert "actions must be numbers or vectors" in refusal(env=Picture())


FILE = """
import gymnax
import jax

from envs.adapters.from_gymnax import from_gymnax

env, params = gymnax.make("CartPole-v1")
swapped = [params.replace(force_mag=force) for force in (10.0, -10.0)]


def draw(key, split):
    side = jax.random.rademacher(key, (), float)
    return params.replace(force_mag=10.0 * side)


def make():
    return from_gymnax(env, draw, {"train": swapped}, horizon=20)
"""


def test_rl2_trains_on_it_from_a_file(tmp_path):
    (tmp_path / "poles.py").write_text(FILE)
    sizes = {
        "trial.episodes": 2,
        "networks.hidden": 8,
        "workers": 4,
        "networks.policy_layers": (8,),
    }
    run = jaxmeta.Run(env=f"{tmp_path}/poles.py:make", method="rl2", frames=480).replace(sizes)
    result = jaxmeta.train(run, tmp_path / "run")
    numbers = [v for line in result.metrics for v in line.values() if isinstance(v, float)]
    assert len(numbers) > 5 and np.isfinite(numbers).all()
    assert np.isfinite(result.evaluation["return"]).all()
    assert reading.read_tasks(tmp_path / "run")[1]["task"]["force_mag"] == -10
    assert (result.evaluation["return"] >= 5).all()  # a pole stands for a while by itself
