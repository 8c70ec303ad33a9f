"""Options of beliefs: their networks, losses and training."""

from jaxmeta.config.option_fields import count, section, setting, units
from jaxmeta.config.run import ReplayBound, Run
from jaxmeta.errors import ConfigError


@section("vae")
class VAE:
    """The belief over tasks: latent, reward decoder, evidence lower bound, replay."""

    latent: int = units(5, "dimensions of the latent")
    decoder: str = setting(
        "single",
        "one output for the inputs below, or one per cell from the latent alone (multi)",
        choices=("single", "multi"),
    )
    decoder_inputs: tuple[str, ...] = setting(
        ("obs", "action", "next_obs"),
        "what a single-head decoder reads besides the latent",
        choices=("obs", "action", "next_obs"),
    )
    decoder_layers: tuple[int, ...] = units((64, 32), "hidden layers of the decoder")
    dropout: float = setting(
        0.5, "rate on the decoder's embedded inputs, never on the latent", low=0.0, below=1.0
    )
    learning_rate: float = setting(1e-3, "of encoder and decoder (Adam)", low=0.0)
    updates: int = count(2, "gradient steps per update, where the belief is trained separately")
    batch: int = count(25, "trajectories per gradient step")
    capacity: int = setting(100_000, "trajectories that the replay holds", low=1, high=10**8)
    replay: str = setting(
        "ring",
        "overwrite the oldest trajectory, or freeze when full (the public code)",
        choices=("ring", "frozen"),
    )
    weight: float = setting(
        1.0,
        "of the ELBO beside the RL loss, where both train one encoder (variBAD by A2C)",
        low=0.0,
        before=1.0,
    )
    kl_weight: float = setting(1.0, "weight of the chained KL terms", low=0.0)
    reduction: str = setting(
        "sum",
        "of the reconstruction over decoded steps (mean: the public code of LDM)",
        choices=("sum", "mean"),
    )
    pairs: str = setting(
        "random",
        "(latent, step) pairs that a single-head decoder is trained on",
        choices=("random", "all"),
    )
    elbo_latents: int = count(32, "latents drawn per trajectory, with pairs=random")
    elbo_steps: int = count(30, "steps decoded per latent, with pairs=random")

    def replay_bound(self, run: Run) -> ReplayBound | None:
        """Return the field that bounds the replay of a seed, where it is the belief's own."""
        return None if run.off_policy else ReplayBound("vae.capacity", self.capacity, None)

    def check(self, run: Run) -> None:
        """Check that a replay of its own holds one update's trials.

        Raises:
          ConfigError: it is too small.
        """
        if not run.off_policy and self.capacity < run.real_workers:
            raise ConfigError(
                f"vae.capacity = {self.capacity}: must be at least the {run.real_workers}"
                f" trajectories that one update of {run.workers} workers adds"
            )


@section("inference")
class Inference:
    """MoSS's task inference: a mixture of Gaussians for each step, next-step decoders."""

    latent: int = units(5, "dimensions of a component's latent")
    components: int = setting(1, "Gaussians (K)", low=1, high=1000)
    hidden: int = units(128, "units of the GRU, and of the layer after it")
    decoder_layers: tuple[int, ...] = units((128, 128), "hidden layers of both decoders")
    window: int = setting(
        64, "last transitions that the GRU reads; 0: all of the trial", low=0, high=100_000
    )
    updates: int = count(128, "gradient steps per update")
    batch: int = count(256, "windows per gradient step")
    learning_rate: float = setting(3e-4, "of encoder and decoders (Adam)", low=0.0)
    max_grad_norm: float = setting(1.0, "largest gradient norm, of both together", low=0.0)
    kl_weight: float = setting(1e-3, "weight of the Gaussians' divergence (alpha)", low=0.0)
    class_weight: float = setting(1e-3, "weight of the categorical's divergence (beta)", low=0.0)
    contrast_weight: float = setting(1.0, "weight of the contrastive term; 0: none", low=0.0)
    contrast_scale: float = setting(1.0, "divides its squared distances", low=1e-6)
    prior: str = setting(
        "previous",
        "of a step's latent: the step before's posterior (Eq. 5), or N(0, I) and uniform (Eq. 1)",
        choices=("previous", "standard"),
    )
    decodes: str = setting(
        "current",
        "what a latent decodes: the last transition that the encoder read, or the next one",
        choices=("current", "next"),
    )
    level: str = setting(
        "step",
        "when the policy's belief changes: after each step, or only at the end of each episode",
        choices=("step", "episode"),
    )
    belief: str = setting(
        "parameters",
        "what the policy sees of the most likely Gaussian: mean and variance, or a sample",
        choices=("parameters", "sample"),
    )

    def check(self, run: Run) -> None:
        """Check that beliefs can change within a trial.

        Raises:
          ConfigError: they change at the end of an episode, and there is only one.
        """
        if self.level == "episode" and run.trial.episodes == 1:
            raise ConfigError(
                "inference.level = 'episode': must be step with trial.episodes = 1; there is no"
                " second episode that could use the inferred task"
            )
