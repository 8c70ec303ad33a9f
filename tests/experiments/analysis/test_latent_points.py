"""Latents: purity and linearity against cases that are known, and a run read back."""

import numpy as np
import pytest

import jaxmeta
from experiments.analysis import latent_points
from experiments.analysis.run_record import read_results
from experiments.figures import latent_figures
from experiments.report.agent_figures import draw_agents
from jaxmeta.config.run import Run
from tests.tiny import tiny_run
from tests.written import two_episodes, write_run


def clusters(centres, each=10, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([c + 0.01 * rng.normal(size=(each, 2)) for c in centres])


def test_separate_families_are_pure():
    points = clusters([(0, 0), (5, 0), (0, 5)])
    pure, chance = latent_points.purities(points, np.repeat([0, 1, 2], 10))
    assert pure == 1.0
    assert 0.4 < chance < 0.6  # of ten points of three families, the most frequent has some five


def test_what_lies_together_is_not():
    """Two of three families at one place: a cluster of 20 is 10 of one, the best that there is."""
    points = clusters([(0, 0), (0, 0), (9, 9)])
    assert latent_points.purities(points, np.repeat([0, 1, 2], 10))[0] < 0.9
    assert latent_points.purities(points, np.tile([0, 1, 2], 10))[0] < 0.6


def test_the_first_direction_is_the_widest():
    x = np.linspace(-1, 1, 30)
    points = np.stack([0.1 * np.sin(9 * x), 3 * x, np.zeros(30)], 1)
    assert latent_points.linearity(latent_points.first_principal_component(points), x) > 0.999
    assert latent_points.linearity(np.sin(9 * x), x) < 0.2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    small = {"frames": 64, "log_every": 32, "evaluation.every": 64}
    jaxmeta.train(tiny_run("moss", small), out)
    return out


def test_a_runs_latents_are_read_and_drawn(run, monkeypatch):
    monkeypatch.setattr(latent_points.reading, "refuse_named_code", lambda run: None)
    by_seed = latent_points.latents_of(run, [0, 1])
    assert by_seed[0].points.shape == (2, 3)  # Steer's two tasks, a latent of 3
    assert not np.allclose(by_seed[0].points, by_seed[1].points)
    assert by_seed[0].targets.tolist() == [0, 1]
    result = read_results(run)._replace(colour="C0")
    drawn = latent_figures.draw_targets([(result, by_seed)])
    assert len(drawn.axes) == 1
    (said,) = latent_figures.remarks([(result, by_seed)])
    assert "by seed: 1.00, 1.00" in said  # two points are on a line


def test_families_are_coloured_and_their_purity_said(run):
    result = read_results(run)._replace(colour="C0")
    points = clusters([(0, 0), (5, 0), (0, 5)])
    one = latent_points.Latents(
        points,
        np.array(["train"] * 20 + ["test"] * 10),
        np.repeat([0, 1, 2], 10),
        tuple("abc"),
        None,
    )
    drawn = latent_figures.draw_families([(result, {0: one})])
    assert "purity 1.00" in drawn.axes[0].get_title()
    (said,) = latent_figures.remarks([(result, {0: one})])
    assert "by seed: 1.00 (by chance 0.4" in said


def test_methods_without_a_latent_have_no_points(tmp_path):
    path = write_run(tmp_path / "a", two_episodes(), [[1]], [[1]])
    assert latent_points.latents_of(path, [0]) == {}


def test_a_report_says_why_latents_are_not_drawn(tmp_path):
    run = Run(method="moss", env="half-cheetah-multi-task")
    result = read_results(write_run(tmp_path / "a", run, [[1]], [[1]]))
    files, (said,) = draw_agents([result._replace(label="MoSS")], tmp_path / "figures")
    assert files == []
    assert said.startswith("MoSS: no latents of its agent") and "holds no checkpoint" in said
