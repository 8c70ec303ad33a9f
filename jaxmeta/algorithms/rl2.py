"""RL2 (Duan et al. 2016): a recurrent policy, trained by RL over whole trials."""

from jaxmeta.a2c import a2c_loss
from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm, Hyper, Metrics
from jaxmeta.config import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.learner import learner
from jaxmeta.recurrent import recurrent
from jaxmeta.rollout import Rollout


def rl2(env: Env, run: Run) -> Algorithm:
    """Return RL2 with A2C."""
    net = recurrent(env, run, run.networks.head)

    def loss(params: Params, rollout: Rollout, key: Key, hp: Hyper) -> tuple[Array, Metrics]:
        return a2c_loss(net.evaluate(params, rollout), rollout.transitions, hp.a2c)

    return learner(env, run, net, loss)
