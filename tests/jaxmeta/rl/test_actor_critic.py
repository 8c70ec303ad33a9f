"""The recurrent actor-critic: what an update evaluates is what the rollout did."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.agent import greedy
from jaxmeta.config.run import Run
from jaxmeta.env import Box, Discrete, Env, Real, mdp_step
from jaxmeta.nn.gru import gru_unroll
from jaxmeta.nn.options import Networks
from jaxmeta.rl.actor_critic import recurrent
from jaxmeta.rollout import collect
from jaxmeta.trial import trial
from tests.tiny import with_sections

SIZES = Networks(
    state_embedding=6,
    action_embedding=3,
    reward_embedding=4,
    hidden=7,
    head=4,
    policy_layers=(5,),
    policy_sees_obs=True,
)
WORKERS, HORIZON, EPISODES = 6, 4, 3
T = HORIZON * EPISODES


class Restless(Env):
    """A walk over residues, whose episodes start anywhere and end on multiples of 3."""

    obs_space = Box((2,), 0.0, 1.0)
    action_space = Discrete(3)
    reward = Real()
    horizon = HORIZON
    ends = True

    def sample_task(self, key, split):
        return jax.random.randint(key, (), 1, 11)

    def eval_tasks(self, split):
        return jnp.arange(1, 11)

    def reset(self, key, task):
        value = jax.random.randint(key, (), 0, 11)
        return value, self.look(value)

    def look(self, value):
        return jnp.stack([value / 10, (value % 2).astype(jnp.float32)])

    def step(self, noise, state, action, task):
        value = (3 * state + task + action) % 11
        ended = (value % 3 == 0) & self.ends
        return value, mdp_step(self.look(value), value / 10 - 0.3 * action, ended)


class Patient(Restless):
    """The same without early ends."""

    ends = False
    fixed_length = True


@pytest.fixture(scope="module", params=[Restless, Patient])
def played(request):
    """Return the actor-critic, lively parameters, and a greedy and a sampled rollout.

    With the boundary "start" what is seen next differs from where the action led.
    """
    run = with_sections(Run(env="gridworld", method="rl2"), networks=SIZES)
    env = trial(request.param(), EPISODES, "start")
    net = recurrent(env, run, SIZES.head)
    params = net.init(jax.random.key(0))
    params["encoder"] = jax.tree.map(lambda x: 2 * x, params["encoder"])
    head = params["policy"]["params"]["head"]
    head["kernel"] = 100 * head["kernel"]  # else all actions are equally likely
    tasks = jnp.arange(1, WORKERS + 1)

    @jax.jit
    def play(params):
        agents, key = (greedy(net.agent), net.agent), jax.random.key(2)
        return [collect(agent, env, params, tasks, key, "train") for agent in agents]

    return env, net, params, *play(params)


def from_scratch(params, rollout):
    """Re-unroll the encoder over the transitions and read the heads, under plain autodiff."""
    encoder, policy = params["encoder"]["params"], params["policy"]["params"]
    tr = rollout.transitions

    def dense(p, x):
        bias = jnp.broadcast_to(p["bias"], (*x.shape[:-1], p["bias"].shape[0]))
        return x @ p["kernel"] + bias

    def head(stack, last, x):
        return dense(policy[last], jnp.tanh(dense(policy[stack], x)))

    parts = [
        dense(encoder["embed_action"], jnp.eye(3)[tr.action]),
        dense(encoder["embed_obs"], tr.seen),
        dense(encoder["embed_reward"], tr.reward[..., None]),
    ]
    x = jax.nn.relu(jnp.concatenate(parts, axis=-1))
    start = jnp.zeros((WORKERS, SIZES.hidden))
    hs = gru_unroll(encoder["gru"], x, start, 1.0 - tr.over)
    obs = jnp.concatenate([tr.obs, tr.seen[-1:]])
    x = jnp.concatenate([obs, dense(encoder["mean"], hs), dense(encoder["logvar"], hs)], axis=-1)
    log_pi = jax.nn.log_softmax(head("actor_0", "head", x[:-1]))
    value = head("critic_0", "value_head", x)[..., 0]
    taken = (log_pi * jnp.eye(3)[tr.action]).sum(-1)
    return taken, -(jnp.exp(log_pi) * log_pi).sum(-1), value[:-1], value[-1]


def test_evaluating_a_rollout_equals_a_re_unroll_in_values_and_gradients(played):
    _, net, params, _, rollout = played
    rng = np.random.default_rng(0)
    shapes = [(T, WORKERS)] * 3 + [(WORKERS,)]
    g = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    # The value after a trial's end is never used (discount 0) and not the same thing.
    g[3] = jnp.where(rollout.transitions.over[-1], 0.0, g[3])

    def loss(evaluate):
        def total(params):
            outputs = tuple(evaluate(params, rollout))
            return sum((o * w).sum() for o, w in zip(outputs, g, strict=True)), outputs

        return jax.jit(jax.grad(total, has_aux=True))

    got, values = loss(net.evaluate)(params)
    expected, reference = loss(from_scratch)(params)
    chex.assert_trees_all_close(values[:3], reference[:3], rtol=1e-5, atol=1e-5)
    goes_on = ~np.asarray(rollout.transitions.over[-1])
    np.testing.assert_allclose(values[3][goes_on], reference[3][goes_on], rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-5)
    assert all(np.abs(leaf).max() > 0.01 for leaf in jax.tree.leaves(got))


def test_a_worker_is_a_plain_loop_over_act_and_observe(played):
    env, net, params, rollout, _ = played
    act, observe = jax.jit(net.agent.act), jax.jit(net.agent.observe)
    for w in range(WORKERS):
        memory = net.agent.begin(params, None)
        for t in range(T):
            tr = jax.tree.map(lambda x, t=t, w=w: x[t, w], rollout.transitions)
            action, record = act(params, memory, tr.obs, jnp.zeros(3))
            assert int(action) == int(tr.action)
            np.testing.assert_allclose(record, rollout.records[t, w], atol=1e-6)
            memory = observe(params, memory, tr, None)
            if tr.over and not env.fixed_length:
                memory = net.agent.begin(params, None)
        np.testing.assert_allclose(memory, rollout.memory[w], atol=1e-6)


def test_actions_follow_the_policy_on_mean_and_logvar(played, plain):
    _, _, params, rollout, _ = played
    encoder, policy = plain.float64(params["encoder"]), plain.float64(params["policy"])
    h, obs = np.asarray(rollout.records, float), np.asarray(rollout.transitions.obs, float)
    latent = [plain.dense(encoder[name], h) for name in ("mean", "logvar")]
    hidden = np.tanh(plain.dense(policy["actor_0"], np.concatenate([obs, *latent], axis=-1)))
    logits = plain.dense(policy["head"], hidden)
    np.testing.assert_array_equal(rollout.transitions.action, logits.argmax(-1))
    assert len(np.unique(rollout.transitions.action)) > 1


def test_memory_outlives_episodes_and_is_cleared_with_the_trial(played):
    env, _, _, *rollouts = played
    for rollout in rollouts:
        tr, h = jax.device_get((rollout.transitions, rollout.records))
        after = np.abs(h[1:]).max(-1)  # the hidden state after steps 0 to T - 2
        inner = tr.last[:-1] & ~tr.over[:-1]
        assert inner.sum() >= WORKERS
        assert (after[inner] > 0.01).all()
        assert (after[tr.over[:-1]] == 0).all() and (after[~tr.over[:-1]] > 0).all()
        assert (h[0] == 0).all()
        if env.fixed_length:
            assert (tr.over.sum(0) == 1).all() and tr.over[-1].all()
        else:
            assert tr.over[:-1].sum() > 2 and not tr.over[-1].all()
