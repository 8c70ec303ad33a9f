"""A target for speed."""

from typing import Any, NamedTuple


class Target(NamedTuple):
    """A measured number, its goal, and the measurements that it is computed from."""

    name: str
    value: float
    goal: float
    baseline: dict[str, Any]
    at_most: bool = False  # else at least

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def row(self) -> dict[str, Any]:
        """Return the target as a row of the output file."""
        return {
            "target": self.name,
            "value": self.value,
            "goal": self.goal,
            "at_most": self.at_most,
            "met": self.met,
            "baseline": self.baseline,
        }
