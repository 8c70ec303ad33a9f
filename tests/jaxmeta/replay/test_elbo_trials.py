"""Trials as the replay stores them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.agent import Transition
from jaxmeta.replay import elbo_trials


def test_replay_keeps_each_workers_first_trial_trajectory_major():
    over = np.zeros((8, 3), bool)
    over[7, 0] = over[2, 1] = over[5, 1] = True  # worker 2's trial does not end
    step = np.arange(8 * 3, dtype=np.float32).reshape(8, 3)
    obs = np.stack([step, -step], axis=-1)
    tr = Transition(obs, step, step + 1, obs + 2, obs + 3, over, over, 1 - over, step + 4)
    kept = elbo_trials.elbo_trials(jax.tree.map(jnp.asarray, tr))
    np.testing.assert_array_equal(kept.valid, np.arange(8) < np.array([[8], [3], [8]]))
    for name in ("obs", "action", "reward", "next_obs", "seen"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(tr, name).swapaxes(0, 1))
