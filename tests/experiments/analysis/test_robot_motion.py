"""How robots move: the trials of the evaluation, as numbers, figures and videos."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import jaxmeta
from experiments.__main__ import main
from experiments.analysis.robot_motion import Motion, motions_of
from experiments.figures import motion_figures, trial_video
from experiments.figures.offscreen import LIBRARIES, choose_gl_backend, works
from experiments.report.compose import report
from jaxmeta.errors import ConfigError
from tests.processes import ENVIRONMENT
from tests.tiny import tiny_run

CHEETAH = "half-cheetah-velocity"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return the folder of a small run of one update."""
    out = tmp_path_factory.mktemp("runs") / "cheetah"
    run = tiny_run("rl2", {"frames": 1600, "evaluation.rollouts": 1}, env=CHEETAH)
    jaxmeta.train(run, out)
    return out


def made(target, velocity, split="test"):
    """Return a made-up trial of two episodes of 5 steps at constant velocities."""
    x = np.concatenate([np.arange(5.0) * 9.0, np.arange(5) * 0.1 * velocity])
    task = {"split": split, "task": target}
    return Motion(task, np.stack([x, -x, x], 1), np.ones(10), np.repeat([0, 1], 5), dt=0.1)


def test_a_trial_seen_is_the_one_that_was_evaluated(path):
    table = jaxmeta.rundir.evaluation_csv.read_evaluation(path)
    rows = (table["policy"] == "greedy") & (table["frames"] == 1600)
    for seed, motions in motions_of(path, [0, 1]).items():
        own = rows & (table["seed"] == seed)
        for task, motion in enumerate(motions):
            for episode in (0, 1):
                at = own & (table["task"] == task) & (table["episode"] == episode + 1)
                total = motion.reward[motion.episode == episode].sum()
                np.testing.assert_allclose(total, table["return"][at], rtol=1e-4)
            assert motion.qpos.shape == (400, 9) and motion.dt == pytest.approx(0.05)
    assert motions[3].task["task"] == pytest.approx(1.25)


def test_velocities_end_with_the_episode():
    velocity = made(1.0, 2.0).velocity()
    np.testing.assert_allclose(velocity[[0, 3, 5, 8]], [90.0, 90.0, 2.0, 2.0])
    assert np.isnan(velocity[[4, 9]]).all()


@pytest.mark.parametrize(("sign", "correlation"), [(1, 1.0), (-1, -1.0)])
def test_tracking_is_the_rank_correlation_of_the_last_episode(sign, correlation):
    motions = [made(v, sign * v**2) for v in (0.5, 1.0, 2.0, 3.0)]
    motions.append(made(0.2, 100.0, split="train"))
    assert motion_figures.tracking(motions, "test") == pytest.approx(correlation)
    result = SimpleNamespace(label="LDM", splits=["train", "test"])
    (line,) = motion_figures.tracking_lines([(result, {0: motions, 3: motions[::-1]})])
    assert line.endswith(f"by seed: {correlation:.2f}, {correlation:.2f}")


def test_figures_draw_the_last_episode():
    result = SimpleNamespace(label="RL²", splits=["train", "test"])
    by = [(result, {0: [made(1.0, 1.0, "train"), made(2.0, 2.0)]})]
    (axes,) = motion_figures.draw_velocities(by).axes
    ends = [line.get_ydata()[-1] for line in axes.lines[:2]]
    np.testing.assert_allclose(ends, [1.0, 2.0])
    assert [line.get_linestyle() for line in axes.lines[2:]] == ["-", "--"]
    places = [(result, {0: [made([1.0, 2.0], 3.0)]})]
    (axes,) = motion_figures.draw_paths(places).axes
    track, goal = axes.lines
    np.testing.assert_allclose(track.get_xydata()[-1], [1.2, -1.2])
    np.testing.assert_allclose(goal.get_xydata(), [[1.0, 2.0]])


def test_a_report_shows_how_it_moves(path, capsys):
    stems = {file.name for file in report([path]).files}
    assert {"velocities.png", "velocities.svg", "report.html"} <= stems
    assert "Spearman" in capsys.readouterr().out
    assert "Spearman" in (path / "report.md").read_text()


def test_a_video_shows_a_cheetah(path, tmp_path):
    if not any(map(works, LIBRARIES)):
        pytest.skip("no library draws without a screen here: see LIBRARIES in offscreen.py")
    out = tmp_path / "run.gif"
    command = [sys.executable, "-P", "-m", "experiments", "video", path, "--task=2", "--out", out]
    done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"{out}: return by episode -")
    with Image.open(out) as film:
        assert (film.n_frames, film.size) == (200, trial_video.SIZE)
        assert film.info["duration"] == 100  # ms for two steps
        film.seek(100)
        picture = np.asarray(film.convert("RGB")).astype(int)
    red, blue = picture[..., 0], picture[..., 2]
    brown = red > blue + 30  # no other thing in sight is
    assert brown[80:240, 100:380].sum() > 500 and brown[:, :60].sum() < 20


def test_captions_tell_task_episode_and_return():
    motion = made(1.25, 1.0)
    first, second = trial_video.caption("half-cheetah-velocity", motion, 7)
    assert first == "half-cheetah-velocity, task 1.25 (test)"
    assert second == "episode 2, 0.2 s, return 3.0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "7"], "task = 7: half-cheetah-velocity has evaluation tasks 0 to 6"),
        (["--out", "x.avi"], "must end in .gif or .mp4"),
        (["--out", "nowhere/x.gif"], "there is no folder nowhere"),
        (["--seed", "2"], "seed = 2: must be 0 to 1"),
    ],
)
def test_bad_input_is_refused(path, monkeypatch, capsys, words, said):
    monkeypatch.setattr("experiments.figures.offscreen.choose_gl_backend", lambda: "egl")
    assert main(["video", str(path), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_library_that_does_not_work_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "none-such")
    with pytest.raises(ConfigError, match="MUJOCO_GL = 'none-such': does not work here"):
        choose_gl_backend()


def switched(velocities, every=10):
    """Return a motion that follows the targets 0, 2 and 1 m/s at these velocities."""
    qpos = np.zeros((3 * every, 9))
    qpos[1:, 0] = 0.05 * np.cumsum(np.repeat(velocities, every))[:-1]
    task = {"split": "test", "task": [0.0, 2.0, 1.0]}
    return Motion(task, qpos, np.zeros(3 * every), np.zeros(3 * every, int), 0.05)


def test_the_distance_to_a_changing_target_is_that_of_the_later_halves():
    np.testing.assert_array_equal(
        motion_figures.target_velocities(switched([0, 2, 1])), np.repeat([0, 2, 1], 10)
    )
    assert motion_figures.settled_error(switched([0.0, 2.0, 1.0])) == pytest.approx(0, abs=1e-9)
    wrong = motion_figures.settled_error(switched([0.5, 2.0, 0.0]))
    assert wrong == pytest.approx((5 * 0.5 + 5 * 0 + 4 * 1.0) / 14)  # the last step has no velocity
