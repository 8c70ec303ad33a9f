"""Laws that every method's compiled program obeys."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.algorithm import Algorithm
from jaxmeta.devices import memory_budget
from jaxmeta.devices.seed_axis import seed_mesh
from jaxmeta.rundir import checkpoint
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import (
    PARAMS,
    TrainState,
    compile_functions,
    make_members,
    metric_sum_shapes,
    run_updates,
    train_state_shapes,
    zero_metric_sums,
)
from jaxmeta.training.evaluation import evaluation_tasks
from tests.tiny import METHODS, OFF_POLICY, advance, program, tiny_run

every_method = pytest.mark.parametrize("method", METHODS + OFF_POLICY)


@every_method
def test_a_step_closes_over_its_state(method):
    made = program(method)
    one = jax.tree.map(lambda x: x[0], made.start.state)
    after, metrics = jax.eval_shape(made.algorithm.step, one)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, one)
    for value in metrics.values():
        chex.assert_shape(value, ())


@every_method
def test_chunk_length_does_not_matter(method):
    """And the program was traced once, also for states that were on the host in between."""
    made = program(method)
    whole = advance(made, made.start, 0, 4)
    part = advance(made, made.start, 0, 1)
    copied = jax.device_put(jax.device_get(part), jax.tree.map(lambda x: x.sharding, part))
    chex.assert_trees_all_equal(advance(made, copied, 1, 3), whole)


@every_method
def test_a_restored_state_continues_bitwise_identical(method, tmp_path):
    made = program(method)
    whole = advance(made, made.start, 0, 4)
    part = advance(made, made.start, 0, 3)
    with checkpoint.CheckpointWriter(tmp_path / "c", []) as writer:
        writer.save(3, {"course": part}, {})
        writer.wait_until_saved()
    found = checkpoint.restore(tmp_path / "c", {"course": jax.eval_shape(lambda: part)})
    placed = jax.device_put(found.items["course"], jax.tree.map(lambda x: x.sharding, made.start))
    chex.assert_trees_all_equal(advance(made, placed, 3, 1), whole)


@every_method
def test_metrics_stay_finite_and_seeds_differ(method):
    made = program(method)
    progress = advance(made, made.start, 0, 4).progress
    for name, total in progress.total.items():
        assert np.isfinite(total).all(), name
        assert (progress.first_bad[name] == -1).all()
    assert (progress.first_bad[PARAMS] == -1).all()
    assert progress.total["policy_loss"][0] != progress.total["policy_loss"][1]


@pytest.mark.parametrize(
    "method",
    [
        method if method in ("rl2", "ldm") else pytest.param(method, marks=pytest.mark.slow)
        for method in METHODS + OFF_POLICY
    ],
)
def test_vmapped_seeds_give_what_a_loop_gives(method):
    made = program(method)
    looped = made.algorithm.params(advance(made, made.start, 0, 1).state)
    vmapped = made.algorithm.params(jax.jit(jax.vmap(made.algorithm.step))(made.start.state)[0])
    chex.assert_trees_all_close(vmapped, looped, rtol=1e-5, atol=1e-5)


def counting(loss, params=lambda n: jnp.float32(0)):
    """Return an algorithm whose state is the number of its updates, and a train_state from 0."""
    step = lambda n: (n + 1, {"loss": loss(n)})
    algorithm = Algorithm(None, None, None, step, lambda n: {"w": params(n)})
    sums = zero_metric_sums(metric_sum_shapes(algorithm, jnp.int32(0)))
    return algorithm, TrainState(jnp.int32(0), sums)


def test_the_first_update_that_is_not_finite_is_noted():
    algorithm, train_state = counting(
        lambda n: jnp.where(n >= 3, jnp.nan, 1.0), lambda n: jnp.where(n >= 6, jnp.inf, 1.0)
    )
    updates = jax.jit(run_updates(algorithm))
    train_state = updates(train_state, jnp.int32(0), jnp.int32(2))
    assert train_state.progress.first_bad["loss"] == -1
    train_state = updates(train_state, jnp.int32(2), jnp.int32(5))
    assert train_state.progress.first_bad["loss"] == 3
    assert train_state.progress.first_bad[PARAMS] == 5  # of 0 to 6: the sixth made state 6


def test_sums_go_on_over_chunks():
    algorithm, train_state = counting(lambda n: n.astype(jnp.float32))
    updates = jax.jit(run_updates(algorithm))
    for first, count in ((0, 2), (2, 1), (3, 2)):
        train_state = updates(train_state, jnp.int32(first), jnp.int32(count))
    assert train_state.progress.total["loss"] == 0 + 1 + 2 + 3 + 4


def test_the_states_buffers_are_used_again():
    """Donated: what comes out lies where what went in lay, the replay above all."""
    run = tiny_run("ldm")
    world, algorithm = build(run)
    who, (tasks, _) = make_members(run), evaluation_tasks(world)
    train_state = train_state_shapes(who, algorithm)
    made = compile_functions(who, run, world, algorithm, seed_mesh(2), tasks, train_state)
    reused = made.chunk.memory_analysis().alias_size_in_bytes
    assert reused >= memory_budget.size(train_state) / 2  # a device has one of the two seeds
