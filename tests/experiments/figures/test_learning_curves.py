"""Figures: artists carry the numbers they should, worked out by hand; files are written."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.analysis import reward_maps, run_record, trained_beliefs
from experiments.analysis.run_record import Death
from experiments.figures import ablation_figures, gridworld_maps, learning_curves, style
from jaxmeta.agent import Agent, Belief, Gaussian
from jaxmeta.algorithm import hyper
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import layout
from jaxmeta.training.build import build

TASKS = [
    {"split": "train", "task": [0, 2], "best_return": 28.9},
    {"split": "train", "task": [6, 6], "best_return": 17.9},
    {"split": "test", "task": [3, 1], "best_return": 26.7},
]


def write_run(path, run, returns, tasks=TASKS):
    """Write a run directory; returns[e][s]: what seed s got in evaluation e, on every task."""
    path.mkdir(parents=True)
    (path / layout.CONFIG).write_text(run.to_json())
    (path / layout.TASKS).write_text(json.dumps(tasks))
    (path / layout.MANIFEST).write_text('{"status": "finished"}')
    (path / layout.METRICS).write_text("")
    with (path / layout.EVALUATION).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(layout.EVALUATION_FIELDS)
        for e, by_seed in enumerate(returns):
            for seed, value in enumerate(by_seed):
                for policy in learning_curves.POLICIES:
                    for i, task in enumerate(tasks):
                        for episode in range(1, run.trial.episodes + 1):
                            # Earlier episodes and other tasks differ, so that mix-ups show.
                            paid = value + i if episode == run.trial.episodes else -99
                            row = (1_000_000 * e, seed, policy, task["split"], i, episode, 1, paid)
                            writer.writerow((*row, float(value > 0)))
    return path


@pytest.fixture
def ldm(tmp_path):
    run = Run(method="ldm", seeds=2)
    return run_record.read([write_run(tmp_path / "ldm", run, [[-3, 1], [3, 5], [6, 10]])])[0]


def test_short_curves_are_not_smoothed(ldm):
    raw, line, _ = learning_curves.learning_curves([ldm]).axes[1].lines
    assert list(raw.get_ydata()) == list(line.get_ydata()) == [1, 6, 10]


def test_curves_are_smoothed_means_with_bands(ldm, monkeypatch):
    monkeypatch.setattr(learning_curves, "FEWEST", 1)
    drawn = learning_curves.learning_curves([ldm])
    train, test, missed = drawn.axes[:3]
    raw, line, optimum = (x.get_ydata() for x in test.lines)
    # The test task has index 2, so its returns are [-1, 3], [5, 7], [8, 12].
    assert list(raw) == [1, 6, 10]
    # By seed, moving averages are -1, 2, 4 and 3, 5, 22 / 3.
    assert list(line) == pytest.approx([1, 3.5, 17 / 3])
    assert list(optimum) == [26.7, 26.7]
    assert list(train.lines[2].get_ydata()) == pytest.approx([23.4, 23.4])
    edges = test.collections[0].get_paths()[0].vertices
    assert edges[:, 1].max() == pytest.approx(17 / 3 + (10 / 3) / np.sqrt(2))
    assert list(test.lines[1].get_xdata()) == [0, 1, 2]
    assert list(missed.lines[0].get_ydata()) == [0.5, 0, 0]  # only seed 0 missed, at first


def test_a_figure_is_two_files(ldm, tmp_path):
    files = style.save(learning_curves.learning_curves([ldm]), tmp_path / "figures", "curves")
    assert [f.name for f in files] == ["curves.png", "curves.svg"]
    assert all(f.stat().st_size > 1000 for f in files)


def test_dead_seeds_are_in_no_curve(tmp_path):
    path = write_run(tmp_path / "a", Run(method="rl2", seeds=3), [[1, 90, 5], [3, 90, 7]])
    text = (path / layout.EVALUATION).read_text().splitlines(keepends=True)
    lived = [line for line in text if not line.startswith("1000000,1,")]  # one evaluation only
    (path / layout.EVALUATION).write_text("".join(lived))
    dead = {"1": {"update": 37, "quantity": "kl"}}
    (path / layout.MANIFEST).write_text(json.dumps({"status": "finished", "dead_seeds": dead}))
    drawn = learning_curves.learning_curves(run_record.read([path]))
    assert list(drawn.axes[1].lines[0].get_ydata()) == [5, 7]  # the test task has index 2
    assert "RL²: 2)" in drawn.get_supxlabel()


def test_mixed_runs_are_said_to_be_mixed(tmp_path):
    for name, version in {"a": 1, "b": 2}.items():
        path = write_run(tmp_path / name, Run(method="rl2"), [[1]])
        manifest = {"status": "finished", "env_version": version}
        (path / layout.MANIFEST).write_text(json.dumps(manifest))
    a, b = run_record.read([tmp_path])
    assert "Mixed" in learning_curves.learning_curves([a, b]).get_supxlabel()
    assert "Mixed" not in learning_curves.learning_curves([a]).get_supxlabel()


def test_every_test_split_has_its_panels(tmp_path):
    tasks = [dict(TASKS[0]), dict(TASKS[1], split="test1"), dict(TASKS[2], split="test2")]
    run = Run(env="gridworld-extrapolation", method="rl2")
    result = run_record.read([write_run(tmp_path / "a", run, [[1]], tasks)])[0]
    titles = [axes.get_title() for axes in learning_curves.learning_curves([result]).axes[:5]]
    names = ["train return", "test1 return", "test2 return"]
    names += ["test1 goals not reached", "test2 goals not reached"]
    assert titles == [f"{name}, greedy" for name in names]


def test_runs_have_labels_and_colours_of_their_own(tmp_path):
    runs = {
        "a": Run(method="ldm"),
        "b": Run(method="ldm").replace({"imagination.beta": 1.5}),
        "c": Run(method="rl2", train_split="oracle"),
        "d": Run(method="rl2"),
    }
    for folder, run in runs.items():
        write_run(tmp_path / folder, run, [[1]])
    results = run_record.read([tmp_path])
    assert [r.label for r in results] == ["RL²", "RL² oracle", "LDM (a)", "LDM (b)"]
    assert results[0].colour == results[1].colour  # told apart by dashes
    assert len({r.colour for r in results}) == 3
    line = learning_curves.learning_curves(results).axes[0].lines[3]
    assert (line.get_label(), line.get_linestyle()) == ("RL² oracle", "--")


def test_a_folder_stands_for_its_runs(tmp_path):
    a, b = (write_run(tmp_path / "many" / x, Run(method="rl2"), [[1]]) for x in "ab")
    assert run_record.expand([tmp_path / "many", a]) == [a, b]
    with pytest.raises(ConfigError, match="holds no run"):
        run_record.expand([tmp_path / "nothing"])


def test_runs_on_two_environments_are_refused(tmp_path):
    write_run(tmp_path / "a", Run(method="rl2"), [[1]])
    write_run(tmp_path / "b", Run(env="gridworld-extrapolation", method="rl2"), [[1]])
    with pytest.raises(ConfigError, match="share one environment"):
        run_record.read([tmp_path])


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
    low, paid, peak = np.full((3, 7, 7), -0.1)
    paid[3, 1], paid[0, 0] = 0.5, 0.9  # pays a cell, and another place more
    peak[4, 4] = 0.4  # pays a cell most, but below the middle of -0.1 and 1
    assert reward_maps.shares(np.stack([paid, peak]), cells) == {"paid": 0.5, "peak": 0.5}
    assert reward_maps.shares(low[None], cells) == {"paid": 0.0, "peak": 0.0}


def test_paths_begin_in_the_corner_in_every_episode(ldm):
    path = np.zeros((60, 2), int)
    path[:30, 0] = 3  # episode 1 stays on (3, 0), as if it had jumped there
    path[30:, 1] = 5
    played = reward_maps.Played(np.array([3, 1]), False, [0, 2, 30, 60], path, None)
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
    world, algorithm = build(run)
    state = algorithm.init(jax.random.key(0), hyper(run))
    return trained_beliefs.Loaded(run, world, algorithm, algorithm.params(state))


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
    """Return a belief that remembers where it was paid, and a decoder of that cell."""
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
    """Return an agent that goes up so often, then right: it meets the goals on that way only."""
    return Agent(
        draw=lambda key: jnp.zeros(()),
        begin=lambda params: jnp.zeros((), jnp.int32),
        act=lambda params, t, obs, noise: (jnp.where(t % 30 < ups, 1, 2), None),
        observe=lambda params, t, transition: t + 1,
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


def test_adaptation_is_drawn_by_episode(ldm):
    test = learning_curves.adaptation_curves([ldm]).axes[1]
    line, optimum = test.lines
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    # The last of three evaluations: 8 and 12 on the test task in episode 4.
    assert list(line.get_ydata()) == [-99, -99, -99, 10]
    assert list(optimum.get_ydata()) == [26.7, 26.7]
    edges = test.collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == (-99, 12)


def test_first_episodes_have_curves_of_their_own(ldm):
    axes = learning_curves.learning_curves([ldm], episode=1).axes[1]
    assert list(axes.lines[0].get_ydata()) == [-99, -99, -99]
    assert axes.get_ylabel() == "return, episode 1"


def vary(folder, *overrides):
    """Write an LDM run per setting; seed 1 reaches every goal, seed 0 with settings after 1."""
    for place, chosen in enumerate(overrides):
        run = Run(method="ldm", seeds=2).replace(chosen)
        write_run(folder / f"run-{place}", run, [[place - 0.5, 1]])
    return run_record.read([folder])


def test_a_varied_number_is_found_and_drawn(tmp_path):
    write_run(tmp_path / "runs" / "rl2", Run(method="rl2", seeds=2), [[5, 5]])
    results = vary(tmp_path / "runs", *({"vae.dropout": rate} for rate in (0.9, 0.0, 0.5)))
    found = ablation_figures.varied(results)
    assert found.field == "vae.dropout"
    assert [found.value(result) for result in found.runs] == [0.0, 0.5, 0.9]
    assert [result.label for result in found.others] == ["RL²"]
    axes = ablation_figures.draw_varied(found).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.5", "0.9"]
    dots, lines = axes.lines[:3], axes.lines[3:5]
    assert [list(dot.get_ydata()) for dot in dots] == [[1, 1], [1, 1], [0, 1]]
    assert [list(line.get_ydata()) for line in lines] == [[1, 1, 0.5], [1, 1]]


def test_numbers_that_change_together_are_told_by_the_last(tmp_path):
    settings = [{"imagination.normal": n, "imagination.mixture": 16 - n} for n in (15, 14, 8)]
    results = vary(tmp_path, *settings)
    assert ablation_figures.varied(results).field == "imagination.mixture"


PAY = [{"imagination.pay": pay} for pay in ("mixture", "worker", "nothing")]
RATES = [{"vae.dropout": rate} for rate in (0.1, 0.2, 0.3)]


@pytest.mark.parametrize(
    "settings", [RATES[:2], PAY, [{**a, **b} for a, b in zip(PAY, RATES, strict=True)]]
)
def test_too_few_runs_or_words_are_no_varied_number(tmp_path, settings):
    assert ablation_figures.varied(vary(tmp_path, *settings)) is None


def test_a_played_trial_moves_one_cell_at_a_time(untrained):
    with jax.numpy_rank_promotion("allow"):  # `adaptation` broadcasts [T] against [N, 1]
        played = reward_maps.play(untrained, ("test",))
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
    assert gridworld_maps.whose([dead, dead]) == "Seed 1"
    assert gridworld_maps.whose([ldm, dead]) == "LDM: seed 0, dead: seed 1"


def test_without_a_checkpoint_there_is_no_agent(ldm):
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        trained_beliefs.load_final(ldm)
    assert not (ldm.path / layout.CHECKPOINTS).exists()
