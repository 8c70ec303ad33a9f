"""Maps of the gridworld: what they show, worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.analysis import reward_maps, trained_beliefs
from experiments.analysis.run_record import Death
from experiments.figures import gridworld_maps
from jaxmeta.agent import Agent, Belief, Gaussian
from jaxmeta.algorithm import hyper
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import layout
from jaxmeta.training.build import build


def test_cells_show_the_last_fifth(ldm):
    values = gridworld_maps.cell_returns(ldm)
    expected = {(0, 2): 8, (6, 6): 9, (3, 1): 10}  # the mean of 6 and 10, plus the task's index
    assert {c: values[c] for c in expected} == expected
    assert np.isnan(values).sum() == 49 - 3
    axes = gridworld_maps.draw_returns([ldm]).axes[0]
    shown = axes.images[0].get_array()
    assert shown[2, 0] == 8  # row y, column x
    assert axes.images[0].origin == "lower"
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {
        ((0, 2), "8.0"),
        ((6, 6), "9.0"),
        ((3, 1), "10.0"),
    }
    outlined = [p.get_xy() for p in axes.patches if p.get_hatch() is None]
    assert np.add(outlined, 0.42) == pytest.approx(np.array([[0, 2], [6, 6]]))


def test_the_cross_sits_on_the_highest_reward(ldm):
    rewards, weights = np.full((1, 7, 7), -0.1), np.zeros((1, 7, 7))
    rewards[0, 5, 1] = 0.9
    weights[0, 0, 2], weights[0, 6, 6] = 0.7, 0.3
    drawn = gridworld_maps.draw_imagined(
        [(ldm, reward_maps.Imagined(rewards, rewards.mT, weights))]
    )
    on, off = drawn.axes[:2]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in (*on.lines, *off.lines)] == [
        (5, 1),
        (1, 5),
    ]
    assert on.get_title().startswith("0.70 (0,2)  0.30 (6,6)")
    assert {t.get_position(): t.get_text() for t in on.texts} == {(0, 2): "70", (6, 6): "30"}


def test_shares_count_maps_that_pay_cells():
    cells = np.array([[3, 1], [4, 4]])
    low, rewarded, peak = np.full((3, 7, 7), -0.1)
    rewarded[3, 1], rewarded[0, 0] = 0.5, 0.9  # rewards a cell, and another one more
    peak[4, 4] = 0.4  # pays a cell most, but below the middle of -0.1 and 1
    assert reward_maps.shares(np.stack([rewarded, peak]), cells) == {"paid": 0.5, "peak": 0.5}
    assert reward_maps.shares(low[None], cells) == {"paid": 0.0, "peak": 0.0}


def test_paths_begin_in_the_corner_in_every_episode(ldm):
    path = np.zeros((60, 2), int)
    path[:30, 0] = 3  # episode 1 stays on (3, 0), as if it had jumped there
    path[30:, 1] = 5
    played = reward_maps.PlottedTrial(np.array([3, 1]), False, [0, 2, 30, 60], path, None)
    axes = gridworld_maps.draw_trials([(ldm, played)]).axes[:4]
    routes = [list(zip(*ax.lines[0].get_data(), strict=True)) for ax in axes]
    assert routes[0] == [(0, 0)]
    assert routes[1] == [(0, 0), (3, 0), (3, 0)]
    assert routes[2] == [(0, 0)] + 30 * [(3, 0)]
    assert routes[3] == [(0, 0)] + 30 * [(0, 5)]
    assert [ax.get_title().split()[-1] for ax in axes] == ["1", "1", "1", "2"]
    assert "not reached" in axes[0].get_ylabel()


def pays(params, z, obs, action, next_obs, bits, hp):
    """Pay 10 x + y, with one mask bit on top."""
    return 10.0 * next_obs[0] + next_obs[1] + (0.0 if bits is None else bits[0])


def test_reward_maps_are_indexed_by_x_and_y():
    draw = lambda key: (jnp.zeros(2), jax.random.bernoulli(key, 0.5, (1,)))
    belief = Belief(*[None] * 4, draw, pays, None)
    expected = np.arange(7)[:, None] * 10 + np.arange(7)
    assert np.array_equal(reward_maps.reward_map(belief, None, None, jnp.zeros(2), None), expected)
    above = reward_maps.dropout_map(belief, None, None, jnp.zeros(2), jax.random.key(0)) - expected
    assert above.mean() == pytest.approx(0.5, abs=0.05)
    assert above.std() == pytest.approx(0.5 / np.sqrt(reward_maps.MASKS), rel=0.3)  # masks by cell


@pytest.fixture(scope="module")
def untrained():
    run = Run(method="ldm", frames=1920).replace({"vae.capacity": 100, "imagination.beta": 1.5})
    trial_env, algorithm = build(run)
    state = algorithm.init(jax.random.key(0), hyper(run))
    return trained_beliefs.LoadedAgent(run, trial_env, algorithm, algorithm.params(state))


def test_mixtures_weigh_training_goals(untrained):
    found = reward_maps.imagine(untrained, batches=2)
    assert found.weights.shape == found.dropout_on.shape == found.dropout_off.shape == (4, 7, 7)
    assert found.weights.sum((1, 2)) == pytest.approx(1)
    outer = np.maximum(*np.indices((7, 7)))
    assert not found.weights[:, (outer != 2) & (outer != 6)].any()
    for rewards in (found.dropout_on, found.dropout_off):
        assert ((rewards > -0.1) & (rewards < 1)).all()
    assert not np.array_equal(found.dropout_on, found.dropout_off)
    assert len({w.tobytes() for w in found.weights}) == 4


def witness(pay):
    """Return a belief that remembers the rewarded cell, and a decoder of that cell."""
    cell = lambda seen: seen[:2].astype(float)
    return Belief(
        init=None,
        begin=lambda params: jnp.zeros(2),
        update=lambda params, h, action, seen, reward: jnp.where(reward > 0, cell(seen), h),
        posterior=lambda params, h: Gaussian(h, h),
        draw=None,
        imagine=lambda params, z, obs, action, cell, bits, hp: jnp.where(
            (cell[:2] == z).all(), pay, -0.1
        ),
        elbo=None,
    )


def walker(ups):
    """Return an agent that goes up so often, then right: it reaches the goals on that route."""
    return Agent(
        draw=lambda key: jnp.zeros(()),
        begin=lambda params, noise: jnp.zeros((), jnp.int32),
        act=lambda params, t, obs, noise: (jnp.where(t % 30 < ups, 1, 2), None),
        observe=lambda params, t, transition, noise: t + 1,
    )


@pytest.mark.parametrize(("pay", "wrong"), [(1.0, 0.0), (-0.1, 1.0), (0.45, 0.5)])
def test_map_errors_count_wrong_cells_where_the_goal_was_reached(untrained, pay, wrong):
    def errors(ups):
        chosen = untrained.algorithm._replace(agent=walker(ups), belief=witness(pay))
        with jax.numpy_rank_promotion("allow"):
            (found,) = reward_maps.map_errors([untrained._replace(algorithm=chosen)])
        return found

    # Along y = 1 there are goals of both splits; all others are never met, and left out.
    assert errors(1) == pytest.approx({"train": wrong, "test": wrong}, abs=1e-6)


def test_where_no_goal_was_reached_there_is_no_error(untrained):
    still = walker(0)._replace(act=lambda params, t, obs, noise: (jnp.zeros((), jnp.int32), None))
    chosen = untrained.algorithm._replace(agent=still, belief=witness(1.0))
    with jax.numpy_rank_promotion("allow"):
        (found,) = reward_maps.map_errors([untrained._replace(algorithm=chosen)])
    assert np.isnan(list(found.values())).all()


def test_map_errors_are_drawn_by_run_and_split(ldm):
    by_seed = [{"train": 0.1, "test": 0.5}, {"train": 0.3, "test": 0.9}]
    axes = gridworld_maps.draw_map_errors([(ldm, by_seed)]).axes[0]
    seeds, mean = axes.lines[2:4]  # of the test split
    assert list(seeds.get_ydata()) == [0.5, 0.9]
    assert list(mean.get_ydata()) == pytest.approx([0.7])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["LDM"]


def test_a_played_trial_moves_one_cell_at_a_time(untrained):
    with jax.numpy_rank_promotion("allow"):  # `adaptation` broadcasts [T] against [N, 1]
        played = reward_maps.best_trial(untrained, ("test",))
    assert max(played.goal) in (3, 4, 5)
    assert played.times == [0, 8, 15, 30, 60, 90, 120]
    assert played.maps.shape == (7, 7, 7)
    for episode in np.split(played.path, 4):
        moves = np.abs(np.diff(episode, axis=0, prepend=[[0, 0]])).sum(1)
        assert moves.max() <= 1
    assert played.reached == (played.path[90:] == played.goal).all(1).any()


def test_the_first_living_seeds_agent_is_shown(ldm, untrained, monkeypatch):
    (ldm.path / layout.CHECKPOINTS / "1").mkdir(parents=True)
    monkeypatch.setattr(
        trained_beliefs, "load", lambda path, seed: (None, f"parameters of seed {seed}")
    )
    assert trained_beliefs.load_final(ldm).params == "parameters of seed 0"
    dead = ldm._replace(dead={0: Death(37, "kl")}, label="dead")
    assert trained_beliefs.load_final(dead).params == "parameters of seed 1"
    assert gridworld_maps.seed_note([dead, dead]) == "Seed 1"
    assert gridworld_maps.seed_note([ldm, dead]) == "LDM: seed 0, dead: seed 1"


def test_without_a_checkpoint_there_is_no_agent(ldm):
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        trained_beliefs.load_final(ldm)
    assert not (ldm.path / layout.CHECKPOINTS).exists()
