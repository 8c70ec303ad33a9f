"""MoSS (Wang et al. 2023): SAC on a mixture-of-Gaussians belief, inferred at every step."""

from jaxmeta.algorithm import Algorithm
from jaxmeta.beliefs.mixture_belief import mixture_belief
from jaxmeta.config.run import Run
from jaxmeta.rl.off_policy import off_policy
from jaxmeta.trial import Trial


def moss(env: Trial, run: Run) -> Algorithm:
    """Return MoSS; with one component its belief is an ordinary VAE's.

    Raises:
      ConfigError: actions are discrete; the replay is smaller than one update's trials.
    """
    return off_policy(env, run, mixture_belief(env, run))
