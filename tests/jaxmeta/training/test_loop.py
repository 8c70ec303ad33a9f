"""What a session writes between its chunks."""

import jax.numpy as jnp
import pytest

import jaxmeta
from jaxmeta.algorithm import Algorithm
from tests import probes
from tests.foreign import bandit


def counting(imagined, metrics=lambda update: {}):
    """Return a method that learns nothing, `imagined` of whose frames no environment takes.

    It reports `metrics` of each update, counted from 0.
    """

    def make(env, run):
        idle = jaxmeta.Agent(
            draw=lambda key: jnp.zeros(()),
            begin=lambda params, noise: (),
            act=lambda params, memory, obs, noise: (jnp.int32(0), ()),
            observe=lambda params, memory, tr, noise: (),
        )
        per_update = run.frames_per_update(env.env.horizon)
        real = None if imagined is None else per_update - imagined
        return Algorithm(
            agent=idle,
            init=lambda key, hp: jnp.zeros(1),
            collect=lambda state: (),
            step=lambda state: (state + 1, {"updates": state[0], **metrics(state[0])}),
            params=lambda state: {"count": state},
            real_frames=real,
        )

    make.sections = ()
    return make


@pytest.mark.parametrize("imagined", [None, 0, 6])
def test_real_frames_leave_out_what_no_environment_took(imagined, tmp_path):
    run = jaxmeta.Run(env=bandit.__file__, method=f"{__file__}:made", frames=8 * 5, workers=2)
    run = run.replace({"trial.episodes": 1, "log_every": 16, "evaluation.every": 16})
    result = jaxmeta.train(run, tmp_path / "a", method=counting(imagined))
    assert [row["frames"] for row in result.metrics] == [16, 32, 40]
    share = 1 if not imagined else (8 - imagined) / 8
    assert [row["real_frames"] for row in result.metrics] == [x * share for x in (16, 32, 40)]


CAUSES = {  # what is not finite from the second update on, and what is named
    "return_train entropy policy_loss value_loss grad_norm": "return_train",
    "entropy kl policy_loss value_loss": "kl",
    "entropy grad_norm policy_loss temperature value_loss": "policy_loss",
    "entropy grad_norm temperature": "entropy",
    "grad_norm temperature": "grad_norm",
    "breakdowns return_imagined": "return_imagined",
}


@pytest.mark.parametrize("bad", CAUSES)
def test_a_death_is_named_after_what_comes_first_in_the_flow_of_data(bad, tmp_path):
    def metrics(update):
        return {name: jnp.where(update < 1, 0.0, jnp.nan) for name in bad.split()}

    run = jaxmeta.Run(env="gridworld", method="rl2", frames=12, workers=2)
    run = run.replace({"trial.episodes": 1, "evaluation.every": 12})
    with pytest.raises(jaxmeta.NonFiniteError, match=f"update 1, seed 0: {CAUSES[bad]} is not"):
        jaxmeta.train(run, tmp_path / "a", env=probes.Sign(), method=counting(None, metrics))


def test_a_run_is_held_against_the_environment_that_it_is_trained_on(tmp_path):
    """Sign has one step, the named gridworld 30: its update would be 60 frames."""
    run = jaxmeta.Run(env="gridworld", method="rl2", frames=5, workers=2)
    run = run.replace({"trial.episodes": 1})
    result = jaxmeta.train(run, tmp_path / "a", env=probes.Sign(), method=counting(None))
    assert result.metrics[-1]["frames"] == 6
    with pytest.raises(jaxmeta.ConfigError, match="frames = 1: must be at least one update, 2 fr"):
        jaxmeta.train(run.replace({"frames": 1}), tmp_path / "b", env=probes.Sign())
    with pytest.raises(jaxmeta.ConfigError, match="frames = 5: must be at least one update, 60 fr"):
        jaxmeta.train(run, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def made(env, run):
    return counting(None)(env, run)


made.sections = ()
