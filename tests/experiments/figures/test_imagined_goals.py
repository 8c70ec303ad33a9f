"""Where imagined goals lie, with a belief whose decoder is known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from envs.locomotion.ant import ant_goal
from experiments.figures import imagined_goals


def test_the_goal_has_the_highest_decoded_reward():
    """It pays for the distance between the latent and where the observation says one is."""

    def pay(params, z, obs, action, next_obs, bits, vae):
        assert bits is None and obs.shape == (30,) and action.shape == (8,)
        standing = (obs[2] == 0.75) & (obs[29] == 0) & (obs == next_obs).all()
        return jnp.where(standing, -jnp.abs(obs[:2] - z).sum(), 1.0)

    belief, robot = SimpleNamespace(imagine=pay), ant_goal()
    find = jax.jit(lambda z: imagined_goals.argmax_reward_position(belief, None, None, robot, z))
    for z in ([1.0, -2.4], [0.0, 3.2], [9.0, 0.1]):
        got = find(jnp.array(z))
        np.testing.assert_allclose(got, np.clip(z, -4, 4), atol=0.1)  # a place every 0.2 m


def test_shares_and_figure():
    goals = np.array([[0.5, 0.0], [0.0, -1.5], [2.0, 0.0], [0.0, 2.6]])
    assert imagined_goals.share_of_test(goals) == 0.5
    one, two = imagined_goals.draw_goals({"β = 1": goals, "β = 2": goals[:1]}).axes
    assert one.get_title() == "β = 1: 50% among test goals"
    np.testing.assert_array_equal(two.lines[0].get_xydata(), goals[:1])
