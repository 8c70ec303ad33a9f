"""The options of every run: its trials, and how its agents are evaluated."""

from jaxmeta.config.option_fields import count, frame_count, section, setting


@section("trial")
class TrialOptions:
    """The trial: several episodes of one task."""

    episodes: int = count(4, "episodes of a trial (N)")
    boundary: str = setting(
        "terminal",
        "what the agent sees at an episode's end: its last observation, or the next start",
        choices=("terminal", "start"),
    )


@section("evaluation")
class Evaluation:
    """When and how the agent is evaluated on fixed tasks."""

    every: int = frame_count(1_000_000, "frames between evaluations, rounded up to updates")
    rollouts: int = count(4, "trials per task of the sampling policy")
