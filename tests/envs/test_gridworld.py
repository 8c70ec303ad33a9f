"""The gridworld against a plain simulator, published numbers and a search of its own."""

from collections import defaultdict

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from envs.gridworld import gridworld, gridworld_extrapolation
from jaxmeta.trial import trial

CELLS = [(x, y) for x in range(7) for y in range(7)]
STEPS = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (0, -1), 4: (-1, 0)}
TRAIN = {(0, 2), (1, 2), (2, 2), (2, 1), (2, 0)}
TRAIN |= {(6, i) for i in range(7)} | {(i, 6) for i in range(7)}


def moved(cell, action):
    (x, y), (dx, dy) = cell, STEPS[action]
    return (x + dx, y + dy) if (x + dx, y + dy) in CELLS else cell


def cells(tasks):
    return [tuple(int(v) for v in task) for task in np.asarray(tasks)]


def test_goals_are_the_papers_in_the_published_order():
    env = gridworld()
    train, test, every = (cells(env.eval_tasks(s)) for s in ("train", "test", "oracle"))
    assert env.splits == ("train", "test") and set(train) == TRAIN
    assert (len(train), len(test), len(every)) == (18, 27, 45)
    assert every == [c for c in CELLS if c not in {(0, 0), (0, 1), (1, 0), (1, 1)}]
    # Indices into the 45 cells as the public code lists them (ldm.md 1.1).
    in_train = [0, 4, 5, *range(9, 13), 16, 23, 30, *range(37, 45)]
    in_test = [*range(1, 4), *range(6, 9), *range(13, 16), *range(17, 23)]
    in_test += [*range(24, 30), *range(31, 37)]
    assert train == [every[i] for i in in_train] and test == [every[i] for i in in_test]


def test_goals_of_the_extrapolation_form():
    env = gridworld_extrapolation()
    train, between, outside = (set(cells(env.eval_tasks(s))) for s in env.splits)
    assert env.splits == ("train", "test1", "test2")
    assert (len(train), len(between), len(outside)) == (16, 16, 13)
    assert train == {c for c in CELLS if max(c) == 2 or max(c) == 5}
    assert between == {c for c in CELLS if 3 <= max(c) <= 4}
    assert outside == {c for c in CELLS if 6 in c}
    assert set(cells(env.eval_tasks("oracle"))) == train | between | outside


@pytest.fixture(scope="module")
def walk():
    """Return 1,000 random steps per goal: the goals, the actions and what they led to."""
    env = gridworld()

    @jax.jit
    @jax.vmap
    def play(task, actions, key):
        state, obs = env.reset(key, task)
        step = lambda state, action: env.step(key, state, action, task)
        return obs, jax.lax.scan(step, state, actions)[1]

    rng = np.random.default_rng(0)
    tasks = env.eval_tasks("oracle")
    # Often the same action several times in a row, so that walks reach every border.
    actions = np.repeat(rng.integers(0, 5, (45, 250)), 4, axis=1)
    keys = jax.random.split(jax.random.key(0), 45)
    return cells(tasks), actions, jax.device_get(play(tasks, jnp.asarray(actions), keys))


def test_moves_and_rewards_follow_a_plain_simulator(walk):
    goals, actions, (first, steps) = walk
    reached, bumped = 0, 0
    for i, goal in enumerate(goals):
        cell = tuple(first[i])
        assert cell == (0, 0)
        for t, action in enumerate(actions[i]):
            bumped += action > 0 and moved(cell, action) == cell
            cell = moved(cell, action)
            reached += cell == goal
            assert tuple(steps.obs[i, t]) == tuple(steps.next_obs[i, t]) == cell
            want = np.float32(1.0 if cell == goal else -0.1)
            assert steps.reward[i, t] == steps.env_reward[i, t] == want
    assert reached > 100 and bumped > 1000


def test_no_episode_ends_by_itself(walk):
    _, _, (_, steps) = walk
    assert not steps.last.any() and not steps.over.any() and (steps.discount == 1).all()
    assert gridworld().fixed_length and gridworld().horizon == 30


def best_value(goal):
    """Return the best return of 30 steps from the corner, by backward induction."""
    value = dict.fromkeys(CELLS, 0.0)
    for _ in range(30):
        pay = {c: (1.0 if c == goal else -0.1) + value[c] for c in CELLS}
        value = {c: max(pay[moved(c, a)] for a in STEPS) for c in CELLS}
    return value[0, 0]


def test_best_returns_are_the_optimal_values_and_the_published_means():
    env = gridworld()
    best = {split: jax.vmap(env.best_return)(env.eval_tasks(split)) for split in env.splits}
    rings = defaultdict(list)
    for split, values in best.items():
        for goal, value in zip(cells(env.eval_tasks(split)), values, strict=True):
            assert value == pytest.approx(best_value(goal), abs=1e-5)
            rings[max(goal)].append(float(value))
    assert float(best["train"].mean()) == pytest.approx(23.278, abs=5e-4)
    assert float(best["test"].mean()) == pytest.approx(24.500, abs=5e-4)
    assert np.mean([*best["train"], *best["test"]]) == pytest.approx(24.011, abs=5e-4)
    means = [np.mean(rings[ring]) for ring in range(2, 7)]
    np.testing.assert_allclose(means, [28.020, 26.386, 24.744, 23.100, 21.454], atol=5e-4)


@pytest.mark.parametrize("split, goals", [("train", 18), ("test", 27), ("oracle", 45)])
def test_tasks_are_sampled_uniformly_over_a_splits_goals(split, goals):
    env = gridworld()
    keys = jax.random.split(jax.random.key(7), 200 * goals)
    drawn = cells(jax.vmap(lambda key: env.sample_task(key, split))(keys))
    counts = {goal: drawn.count(goal) for goal in cells(env.eval_tasks(split))}
    assert len(counts) == goals and sum(counts.values()) == len(drawn)
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_an_episode_is_traced_once_matches_its_spaces_and_repeats_with_its_key():
    env = trial(gridworld(), 4)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def play(task, key):
        key_reset, key_act, key_env = jax.random.split(key, 3)
        actions = jax.random.randint(key_act, (1000,), 0, env.action_space.n)
        noises = jax.vmap(env.draw)(jax.random.split(key_env, 1000))
        state, obs = env.reset(key_reset, task)
        step = lambda state, xs: env.step(xs[0], state, xs[1], task)
        return obs, jax.lax.scan(step, state, (noises, actions))[1]

    task, other = jnp.array([2, 0], jnp.int8), jnp.array([0, 2], jnp.int8)
    key, another = jax.random.split(jax.random.key(0))
    first, steps = play(task, key)
    chex.assert_trees_all_equal((first, steps), play(task, key))
    assert (play(task, another)[1].obs != steps.obs).any()
    # The goal is hidden: it changes rewards, never observations.
    elsewhere = play(other, key)[1]
    assert (elsewhere.obs == steps.obs).all() and (elsewhere.reward != steps.reward).any()

    space = env.obs_space
    for obs in (first[None], steps.obs, steps.next_obs):
        chex.assert_shape(obs, (None, *space.shape))
        assert obs.dtype == space.dtype
        assert obs.min() >= space.low and obs.max() <= space.high
    chex.assert_type([steps.reward, steps.discount, steps.env_reward], jnp.float32)
    chex.assert_shape([steps.reward, steps.discount, steps.last, steps.over], (1000,))
    chex.assert_tree_all_finite(steps)


def test_cells_number_the_observations():
    env = gridworld()
    index = jax.vmap(env.cells.index)(jnp.array(CELLS, jnp.int8))
    assert env.cells.n == 49 and index.tolist() == [7 * x + y for x, y in CELLS]


def waiting(route):
    """Return the sum over training goals of the step that first reaches them, 31 if none does."""
    found = dict.fromkeys(TRAIN, 31)
    cell = (0, 0)
    for t, action in enumerate(route, start=1):
        cell = moved(cell, action)
        if cell in found:
            found[cell] = min(found[cell], t)
    return sum(found.values())


def some_route_waits_at_most(limit):
    """Whether any route of 30 moves has `waiting(route) <= limit`: an exact search.

    States are (cell, goals seen); a state is given up where even reaching one new goal a
    step from the nearest one on, none before its distance, would take too long.
    """
    goals = sorted(TRAIN)
    number = {goal: 1 << i for i, goal in enumerate(goals)}
    states = {((0, 0), 0): 18}
    for t in range(1, 31):
        after = {}
        for (cell, seen), cost in states.items():
            for action in range(1, 5):
                to = moved(cell, action)
                mask = seen | number.get(to, 0)
                unseen = [g for g in goals if not mask & number[g]]
                far = sorted(abs(to[0] - x) + abs(to[1] - y) for x, y in unseen)
                rest = sum(min(max(d, far[0] + i), 31 - t) - 1 for i, d in enumerate(far))
                state, total = (to, mask), cost + len(unseen)
                if total + rest <= limit and total < after.get(state, 1000):
                    after[state] = total
        states = after
    return bool(states)


def test_without_knowing_the_goal_the_best_first_episode_return_is_17_17():
    # Before the goal is reached, all goals look alike: an agent is one route. Reached at step k,
    # a goal yields 31 - k - 0.1 (k - 1) = 31.1 - 1.1 k, and as if k = 31 if never.
    route = [1, 1, 2, 2, 3, 3] + [2] * 4 + [1] * 6 + [4] * 6 + [0] * 8
    assert waiting(route) == 228
    assert some_route_waits_at_most(228) and not some_route_waits_at_most(227)

    env = gridworld()

    def explore(goal):
        def step(carry, action):
            state, reached = carry
            state, step = env.step(jax.random.key(0), state, jnp.where(reached, 0, action), goal)
            return (state, reached | (step.reward == 1)), step.reward

        start = (env.reset(jax.random.key(0), goal)[0], jnp.array(False))
        return jax.lax.scan(step, start, jnp.array(route))[1].sum()

    returns = jax.jit(jax.vmap(explore))(env.eval_tasks("train"))
    assert float(returns.mean()) == pytest.approx(31.1 - 1.1 * 228 / 18, abs=1e-4)
    assert float(returns.mean()) == pytest.approx(17.17, abs=5e-3)
