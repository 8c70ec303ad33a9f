"""Who imagines, and what."""

from jaxmeta.config.fields import count, section, setting
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError


@section("imagination")
class Imagination:
    """LDM's mixture workers."""

    normal: int = count(14, "workers per group that live in real tasks (n)")
    mixture: int = count(2, "workers per group that live in imagined ones", low=0)
    beta: float = setting(
        1.0, "range of the mixture weights; 1: convex, more: beyond the training tasks", low=0.0
    )
    weights: str = setting(
        "per_worker",
        "one weight per normal worker (paper, Eq. 1), or one per latent dimension too (code)",
        choices=("per_worker", "per_dimension"),
    )
    latents: str = setting(
        "samples", "what is mixed: posterior samples or means", choices=("samples", "means")
    )
    dropout: str = setting(
        "on", "the decoder's dropout while it pays mixture workers", choices=("on", "off")
    )
    pay: str = setting(
        "mixture",
        "what pays mixture workers: the mixture, or as controls the latent of one random normal"
        " worker, or nothing (always the low reward; 0 where rewards are real numbers)",
        choices=("mixture", "worker", "nothing"),
        before="mixture",
    )
    returns: str = setting(
        "imagined",
        "what mixture workers' returns are made of: what paid them, or the real rewards of their"
        " own task, while only memories see what was imagined (real; the public code of 2021 on"
        " robots)",
        choices=("imagined", "real"),
        before="imagined",
    )
    roles: str = setting(
        "last",
        "mixture workers: the last of each group, or redrawn every update (code)",
        choices=("last", "redrawn"),
    )

    def group_size(self, run: Run) -> int:
        """Return how many workers mix with each other."""
        return self.normal + self.mixture

    def real_workers(self, run: Run) -> int:
        """Return how many of the run's workers live in real tasks."""
        return run.workers // run.group * self.normal

    def check(self, run: Run) -> None:
        """Refuse groups that the workers cannot form.

        Raises:
          ConfigError: says what does not fit.
        """
        if self.mixture >= run.workers:
            raise ConfigError(
                f"imagination.mixture = {self.mixture}: must be less than workers ({run.workers})"
            )
        if run.workers % run.group:
            raise ConfigError(
                f"workers = {run.workers}: must be a multiple of the group of {run.group}"
                f" (imagination.normal {self.normal} + imagination.mixture {self.mixture})"
            )
