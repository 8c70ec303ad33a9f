"""The settings for many workers are runs that can be trained."""

import pytest

from experiments.studies import many_workers


@pytest.mark.parametrize("count", many_workers.SETTINGS)
@pytest.mark.parametrize("method", ["rl2", "ldm"])
def test_a_setting_changes_what_must_follow_the_batch(method, count):
    rate, batch, updates = many_workers.SETTINGS[count]
    run = many_workers.setting(method, count, seeds=3)
    assert (run.seeds, run.workers, run.updates(30)) == (3, count, updates)
    assert run.a2c.learning_rate == run.a2c.encoder_learning_rate == pytest.approx(rate * 7e-4)
    if method == "ldm":
        assert run.vae.batch == batch
        assert run.workers % run.group == 0


def test_sixteen_workers_are_the_papers():
    plain = many_workers.Run(env="gridworld", method="ldm", frames=10**6)
    assert many_workers.setting("ldm", 16, frames=10**6) == plain


def test_frames_that_are_given_count():
    assert {run.frames for run in many_workers.runs(frames=10**7).values()} == {10**7}
