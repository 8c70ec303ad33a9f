"""RL2 (Duan et al. 2016): a recurrent policy, trained by RL over whole trials."""

from jaxmeta.algorithm import Algorithm
from jaxmeta.config import Run
from jaxmeta.env import Env
from jaxmeta.learner import learner
from jaxmeta.policy import policy_learner
from jaxmeta.recurrent import recurrent


def rl2(env: Env, run: Run) -> Algorithm:
    """Return RL2, with A2C or PPO."""
    net = recurrent(env, run, run.networks.head)
    return learner(env, run, net, policy_learner(env, run, net))
