"""RL2 (Duan et al. 2016): a recurrent policy, trained by RL over whole trials."""

from jaxmeta.algorithm import Algorithm
from jaxmeta.config.run import Run
from jaxmeta.rl.actor_critic import recurrent
from jaxmeta.rl.on_policy import on_policy, policy_learner, policy_only
from jaxmeta.trial import Trial


def rl2(env: Trial, run: Run) -> Algorithm:
    """Return RL2, with A2C or PPO."""
    net = recurrent(env, run, run.networks.head)
    return on_policy(env, run, net, net.init, policy_only(policy_learner(env, run, net)))
