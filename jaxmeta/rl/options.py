"""Options of the RL algorithms, a section for each."""

from jaxmeta.config.option_fields import count, section, setting, units
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError


@section("a2c")
class A2C:
    """Advantage actor-critic, one gradient step per update (LDM's gridworld settings)."""

    learning_rate: float = setting(7e-4, "of the policy (RMSprop)", low=0.0)
    encoder_learning_rate: float = setting(7e-4, "of an encoder trained by RL (Adam)", low=0.0)
    gamma: float = setting(0.95, "discount", low=0.0, high=1.0)
    gae_lambda: float = setting(0.95, "decay of generalised advantages", low=0.0, high=1.0)
    credit: str = setting(
        "trial",
        "whether returns and advantages cross episode boundaries within a trial, or are cut at an"
        " episode's time limit, whose last step has no advantage (episode; the public code on"
        " robots)",
        choices=("trial", "episode"),
        before="trial",
    )
    value_coef: float = setting(0.5, "weight of the value loss", low=0.0)
    entropy_coef: float = setting(0.1, "weight of the entropy bonus", low=0.0)
    max_grad_norm: float = setting(0.5, "largest gradient norm, per parameter group", low=0.0)
    rmsprop_decay: float = setting(0.99, "decay of the mean square", low=0.0, below=1.0)
    rmsprop_eps: float = setting(1e-5, "added outside the square root", low=0.0)


@section("ppo")
class PPO:
    """Proximal policy optimisation, several gradient steps per update (LDM's MuJoCo settings)."""

    learning_rate: float = setting(7e-4, "of the policy (Adam)", low=0.0)
    encoder_learning_rate: float = setting(7e-4, "of an encoder trained by RL (Adam)", low=0.0)
    gamma: float = setting(0.97, "discount", low=0.0, high=1.0)
    gae_lambda: float = setting(0.9, "decay of generalised advantages", low=0.0, high=1.0)
    credit: str = setting(
        "trial",
        "whether returns and advantages cross episode boundaries within a trial, or are cut at an"
        " episode's time limit, whose last step has no advantage (episode; the public code on"
        " robots)",
        choices=("trial", "episode"),
        before="trial",
    )
    update: str = setting(
        "trial",
        "when policy and belief are updated: after each trial, or after each of its episodes (the"
        " public code on robots)",
        choices=("trial", "episode"),
        before="trial",
    )
    memory: str = setting(
        "kept",
        "where an update begins in the middle of a trial, hidden states are recomputed from the"
        " trial so far, or reset (cleared; the public code's RL2)",
        choices=("kept", "cleared"),
        before="kept",
    )
    epochs: int = count(2, "passes over an update's steps")
    minibatches: int = count(4, "gradient steps per pass")
    minibatch_of: str = setting(
        "workers",
        "what a gradient step learns from: whole trials of some workers, or steps of all, which"
        " encodes all trials in each gradient step (steps; the public code)",
        choices=("workers", "steps"),
        before="steps",
    )
    clip: float = setting(0.1, "clipping range of the ratio and of the value's change", low=0.0)
    value_coef: float = setting(0.5, "weight of the value loss", low=0.0)
    entropy_coef: float = setting(0.01, "weight of the entropy bonus", low=0.0)
    max_grad_norm: float = setting(0.5, "largest gradient norm, per parameter group", low=0.0)
    normalise_obs: bool = setting(
        True,
        "whether a policy that sees observations sees them normalised by their running mean and"
        " standard deviation",
    )
    normalise_rewards: bool = setting(
        True,
        "whether rewards are divided by the running standard deviation of discounted returns",
    )
    last_return: str = setting(
        "counted",
        "whether the return up to a trial's last step is one of those, or 0 in its place (zeroed;"
        " the public code)",
        choices=("counted", "zeroed"),
        before="counted",
    )

    def check(self, run: Run) -> None:
        """Check that `memory = cleared` can have an effect.

        Raises:
          ConfigError: no update begins in the middle of a trial.
        """
        if self.memory == "cleared" and self.update == "trial":
            raise ConfigError(
                "ppo.memory = 'cleared': must be kept with ppo.update = trial; no update begins in"
                " the middle of one"
            )


@section("sac")
class SAC:
    """Soft actor-critic, many gradient steps per update, from a replay (MoSS's settings)."""

    learning_rate: float = setting(3e-4, "of actor, critics and a learned temperature", low=0.0)
    gamma: float = setting(0.99, "discount", low=0.0, high=1.0)
    polyak: float = setting(0.005, "Polyak step of the target critics (tau)", low=0.0, high=1.0)
    temperature: float = setting(
        0.2, "weight of the entropy; where it is learned, its initial value", low=1e-6
    )
    entropy: str = setting(
        "fixed",
        "the temperature is fixed, or learned for an entropy of -1 per action dimension (learned)",
        choices=("fixed", "learned"),
    )
    reward_scale: float = setting(1.0, "factor on rewards", low=0.0)
    max_grad_norm: float = setting(0.5, "largest gradient norm, of actor and of critics", low=0.0)
    layers: tuple[int, ...] = units((300, 300, 300), "hidden layers of actor and critics")
    obs_embedding: int = units(32, "units of the observation embedding; 0: none", low=0)
    belief_embedding: int = units(32, "units of the belief embedding; 0: none", low=0)
    updates: int = count(2048, "gradient steps per update")
    batch: int = count(256, "transitions per gradient step")

    def off_policy(self, run: Run) -> bool:
        """Return True: it learns from a replay buffer."""
        return True
