"""Which parameters are kept as best, and what fills leaves that older checkpoints lack."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.algorithm import Algorithm
from jaxmeta.config.run import Run
from jaxmeta.training.compiled_functions import make_members
from jaxmeta.training.saved_items import Best, start_of, update_best


def test_the_better_of_two_evaluations_is_kept_seed_by_seed():
    old = Best({"w": np.zeros((4, 2))}, np.array([1.0, 1.0, 1.0, 1.0]), np.zeros(4, np.int32))
    score, finite = np.array([2.0, 1.0, 0.0, 9.0]), [True, True, True, False]
    found = update_best(old, {"w": np.ones((4, 2))}, score, finite, update=7)
    assert found.params["w"][:, 0].tolist() == [1, 0, 0, 0]
    assert found.score.tolist() == [2, 1, 1, 1]
    assert found.update.tolist() == [7, 0, 0, 0]
    assert found.update.dtype == np.int32


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("course.progress.total.kl", 0.0),
        ("course.progress.first_bad.kl", -1.0),
        ("course.state.params.film.kernel", 0.5),
        ("agent.last.film.kernel", 0.5),
        ("agent.best.params.film.kernel", 0.5),
        ("course.state.count", 3.0),
        ("agent.last.count", None),  # it is no parameter
        ("course.state.params.filming", None),  # another name
        ("course.state.counter", None),
        ("course.state.update", None),
    ],
)
def test_a_method_declares_what_fills_its_leaves(leaf, value):
    nothing = lambda *args: jnp.zeros(())
    added = {"params.film": 0.5, "count": 3.0}
    algorithm = Algorithm(None, nothing, nothing, nothing, nothing, added=added)
    assert start_of(algorithm, make_members(Run(method="rl2")))(leaf) == value


def test_a_younger_option_begins_with_what_each_member_has():
    runs = [Run(method="rl2").replace({"a2c.gamma": x, "seeds": 2}) for x in (0.9, 0.99)]
    nothing = lambda *args: jnp.zeros(())
    algorithm = Algorithm(None, nothing, nothing, nothing, nothing)
    start = start_of(algorithm, make_members(*runs))
    np.testing.assert_allclose(start("course.state.hp.a2c.gamma"), [0.9, 0.9, 0.99, 0.99])
    assert start("course.state.hp.a2c.another") is None
