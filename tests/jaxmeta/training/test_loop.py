"""What a session writes between its chunks."""

import jax.numpy as jnp
import pytest

import jaxmeta
from jaxmeta.algorithm import Algorithm
from tests.foreign import bandit


def counting(imagined):
    """Return a method that learns nothing, `imagined` of whose frames no environment takes."""

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
            step=lambda state: (state + 1, {"updates": state[0]}),
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


def made(env, run):
    return counting(None)(env, run)


made.sections = ()
