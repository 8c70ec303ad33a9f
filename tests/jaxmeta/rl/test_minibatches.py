"""What PPO's gradient steps read: everything once an epoch, and no other worker's trials."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.algorithm import as_pytree, hyper
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rl.actor_critic import network_inputs, recurrent
from jaxmeta.rl.minibatches import Batch, minibatch_indices, take_minibatch
from jaxmeta.rl.options import PPO
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import initial_states, make_members
from tests.probes import Stop
from tests.tiny import tiny_run


class OneStep(Stop):
    """Its trials are one step long."""

    horizon = 1


def shaped(steps, workers):
    """Return what `minibatch_indices` reads of a rollout."""
    return SimpleNamespace(transitions=SimpleNamespace(reward=np.zeros((steps, workers))))


@pytest.mark.parametrize(("kind", "count"), [("workers", 12), ("steps", 60)])
def test_every_epoch_reads_everything_once_in_an_order_of_its_own(kind, count):
    hp = as_pytree(PPO(epochs=3, minibatches=4, minibatch_of=kind))
    order = np.asarray(minibatch_indices(jax.random.key(0), shaped(5, 12), hp))
    assert order.shape == (12, count // 4)
    epochs = order.reshape(3, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()
    assert len({epoch.tobytes() for epoch in epochs}) == 3


def test_what_minibatches_of_steps_leave_over_is_not_read_twice():
    hp = as_pytree(PPO(epochs=3, minibatches=4, minibatch_of="steps"))
    order = np.asarray(minibatch_indices(jax.random.key(0), shaped(13, 2), hp)).reshape(3, 24)
    assert all(len(set(epoch)) == 24 for epoch in order)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minibatches": 8}, r"ppo\.minibatches = 8: must divide workers = 4 into equal"),
        ({"minibatches": 3}, r"ppo\.minibatches = 3: must divide workers = 4 .* = steps, mini"),
        (
            {"minibatches": 241, "minibatch_of": "steps"},
            r"ppo\.minibatches = 241: must be at most 240, the steps",
        ),
        (
            {"minibatches": 121, "minibatch_of": "steps", "update": "episode"},
            r"must be at most 120, the steps",
        ),
    ],
)
@pytest.mark.parametrize("method", ["rl2", "varibad"])
def test_what_would_be_a_mean_of_nothing_is_refused(method, fields, message):
    fields = {f"ppo.{name}": value for name, value in fields.items()}
    with pytest.raises(ConfigError, match=message):
        build(tiny_run(method, fields, rl="ppo"))


@pytest.mark.parametrize("kind", ["workers", "steps"])
def test_advantages_without_a_deviation_are_refused(kind):
    fields = {"workers": 1, "trial.episodes": 1, "ppo.minibatches": 1, "ppo.minibatch_of": kind}
    with pytest.raises(ConfigError, match=r"workers = 1: must be at least 2"):
        build(tiny_run("rl2", fields, rl="ppo"), OneStep())


@pytest.mark.parametrize(("kind", "most"), [("workers", 4), ("steps", 240)])
def test_a_minibatch_may_be_one_of_them(kind, most):
    assert build(tiny_run("rl2", {"ppo.minibatches": most, "ppo.minibatch_of": kind}, rl="ppo"))


def test_the_public_codes_are_of_steps():
    for env in ("half-cheetah-velocity", "ant-goal"):
        assert Run(env=env, method="rl2").ppo.minibatch_of == "workers"
        assert Run(env=env, method="rl2", preset="reference").ppo.minibatch_of == "steps"


# --- Inside a method


@pytest.fixture(scope="module")
def collected():
    """Return a network, its parameters, and a rollout of 4 workers."""
    run = tiny_run("rl2", {"seeds": 1}, rl="ppo")
    env, algorithm = build(run)
    net = recurrent(env, run, run.networks.head)
    state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    rollout = jax.jit(algorithm.collect)(state)
    inputs = network_inputs(env, rollout)
    batch = Batch(*jnp.array(np.random.default_rng(0).normal(size=(4, *inputs.reward.shape))))
    return SimpleNamespace(
        net=net, params=algorithm.params(state), rollout=rollout, inputs=inputs, batch=batch
    )


@pytest.mark.parametrize("encodes", [True, False])
@pytest.mark.parametrize(
    ("kind", "which"), [("workers", [2, 0]), ("steps", [0, 7, 100, 239])], ids=["workers", "steps"]
)
def test_a_minibatch_is_that_part_of_the_whole_rollout(collected, kind, which, encodes):
    net, params, rollout, inputs, batch = vars(collected).values()

    def evaluate(rollout, inputs):
        if encodes:
            return net.unroll(params, inputs, rollout.transitions.action)
        return net.evaluate(params, rollout)

    hp = as_pytree(PPO(minibatch_of=kind))
    which = np.array(which)
    take = jax.jit(lambda which: take_minibatch(evaluate, rollout, inputs, batch, which, hp))
    taken = take(which)
    whole = jax.jit(evaluate)(rollout, inputs)
    for name in ("log_prob", "value", "entropy"):
        full = np.asarray(getattr(whole, name))
        wanted = full[:, which] if kind == "workers" else full.reshape(-1)[which]
        np.testing.assert_allclose(getattr(taken, name), wanted, rtol=1e-5, atol=1e-6)
    for part, full in zip(taken.batch, batch, strict=True):
        wanted = full[:, which] if kind == "workers" else full.reshape(-1)[which]
        np.testing.assert_array_equal(part, wanted)


def test_a_minibatch_of_workers_encodes_no_other_workers_trials(collected):
    net, params, rollout, inputs, batch = vars(collected).values()
    poisoned = inputs._replace(seen=inputs.seen.at[:, 1].set(jnp.nan))
    hp = as_pytree(PPO(minibatch_of="workers"))

    def total(params, which):
        evaluate = lambda rollout, inputs: net.unroll(params, inputs, rollout.transitions.action)
        taken = take_minibatch(evaluate, rollout, poisoned, batch, which, hp)
        return (taken.log_prob + taken.value).sum()

    norm = jax.jit(lambda which: optax.tree.norm(jax.grad(total)(params, which)))
    assert float(norm(jnp.array([0, 2, 3]))) > 0
    assert np.isnan(float(norm(jnp.array([0, 1]))))


@pytest.mark.parametrize("method", ["rl2", "mixreg"])
def test_where_a_minibatch_is_everything_both_kinds_learn_the_same(method):
    def learned(kind, minibatches):
        fields = {"ppo.minibatches": minibatches, "ppo.minibatch_of": kind, "seeds": 1}
        run = tiny_run(method, fields, rl="ppo")
        _, algorithm = build(run)
        state = algorithm.init(jax.random.key(0), hyper(run))
        return jax.jit(algorithm.step)(state)[0].params

    chex.assert_trees_all_close(learned("workers", 1), learned("steps", 1), atol=2e-5)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(learned("workers", 2), learned("steps", 2), atol=2e-5)
