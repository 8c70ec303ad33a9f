"""What a run's progress is said with, by the process that trains and by those that watch."""

from collections.abc import Mapping
from datetime import timedelta

QUIET_S = 15.0  # seconds between lines where there is no terminal


def news(frames_per_s: float, metrics: Mapping[str, float]) -> str:
    """Return the speed and the last returns in words."""
    parts = [f"{frames_per_s:,.0f} frames/s"] if frames_per_s else []
    for key, name in (("return_train", "return"), ("return_imagined", "imagined")):
        if key in metrics:
            parts.append(f"{name} {metrics[key]:.1f}")
    return ", ".join(parts)


def remaining(seconds: float) -> str:
    """Return in words how long the rest will take."""
    return f"{timedelta(seconds=round(seconds))} left"
