"""Actions in units of their bounds, against arithmetic, and what environments then receive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta import Box, Discrete
from jaxmeta.action_units import to_env_action, unit_space
from jaxmeta.trial import trial
from tests.probes import Steer

INF = float("inf")


@pytest.mark.parametrize(
    ("low", "high", "units", "action", "expected"),
    [
        (-0.1, 0.1, (-1, 1), [-3.0, -1.0, 0.0, 0.5, 1.0, 9.0], [-0.1, -0.1, 0.0, 0.05, 0.1, 0.1]),
        (-2.0, 3.0, (-1, 1), [-1.0, 0.0, 1.0], [-2.0, 0.5, 3.0]),
        (0.0, INF, (-1, INF), [-5.0, -1.0, 0.0, 7.0], [0.0, 0.0, 1.0, 8.0]),
        (3.0, 3.4028235e38, (-1, INF), [-1.0, 0.0, 1.0], [3.0, 4.0, 5.0]),  # as gymnax has it
        (-INF, -3.0, (-INF, 1), [-1.0, 1.0, 2.0], [-5.0, -3.0, -3.0]),
        (-INF, INF, (-INF, INF), [-7.0, 0.1, 30.0], [-7.0, 0.1, 30.0]),
    ],
)
def test_one_is_the_bound_and_what_leaves_it_is_clipped(low, high, units, action, expected):
    space = Box((1,), low, high)
    assert (unit_space(space).low, unit_space(space).high) == units
    found = to_env_action(space, jnp.array(action, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(-50, 50))
def test_no_rounding_leaves_the_bounds(low, width, action):
    space = Box((1,), low, low + width)
    found = to_env_action(space, jnp.float32(action))
    assert np.float32(space.low) <= found <= np.float32(space.high)


def test_discrete_actions_are_what_they_are():
    assert unit_space(Discrete(3)) == Discrete(3)
    assert to_env_action(Discrete(3), jnp.int32(2)) == 2


class Narrow(Steer):
    """Steer with a small one-sided action, which is its reward."""

    action_space = Box((1,), 0.0, 0.2)

    def step(self, noise, state, action, task):
        state, step = super().step(noise, state, action, task)
        return state, step._replace(reward=action[0])


def test_a_trial_takes_units_and_the_environment_gets_its_own():
    env = trial(Narrow(), 2)
    assert env.action_space == Box((1,), -1.0, 1.0)
    state, _ = env.reset(jax.random.key(0), jnp.int32(1))
    noise = env.draw(jax.random.key(1))
    for action, received in ((-1.0, 0.0), (0.0, 0.1), (0.5, 0.15), (40.0, 0.2)):
        _, step = env.step(noise, state, jnp.array([action]), jnp.int32(1))
        assert step.reward == pytest.approx(received)
