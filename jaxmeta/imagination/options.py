"""Options of LDM's mixture workers."""

from jaxmeta.config.option_fields import count, section, setting
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError


@section("imagination")
class Imagination:
    """LDM's mixture workers."""

    normal: int = count(14, "workers per group that run in real tasks (n)")
    mixture: int = count(2, "workers per group that run in imagined ones", low=0)
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
        "on",
        "the decoder's dropout while it generates mixture workers' rewards",
        choices=("on", "off"),
    )
    pay: str = setting(
        "mixture",
        "source of mixture workers' rewards: the mixture, or as controls the latent of one random"
        " normal worker, or nothing (always the low reward; 0 where rewards are real numbers)",
        choices=("mixture", "worker", "nothing"),
        before="mixture",
    )
    returns: str = setting(
        "imagined",
        "rewards in mixture workers' returns: the imagined ones, or the real ones of their task,"
        " imagined ones being recurrent inputs only (real; the public code of 2021 on robots)",
        choices=("imagined", "real"),
        before="imagined",
    )
    roles: str = setting(
        "last",
        "mixture workers: the last of each group, or redrawn every update (code)",
        choices=("last", "redrawn"),
    )

    def group_size(self, run: Run) -> int:
        """Return the number of workers in a group."""
        return self.normal + self.mixture

    def real_workers(self, run: Run) -> int:
        """Return how many of the run's workers run in real tasks."""
        return run.workers // run.group * self.normal

    def check(self, run: Run) -> None:
        """Check that workers divide into groups.

        Raises:
          ConfigError: names the fields that are inconsistent.
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
