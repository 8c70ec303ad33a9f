"""Writers that write nothing, for all processes but the first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class NullWriter:
    """Takes what a RunWriter takes, and writes nothing."""

    def __init__(self, path: Path):
        self.path = path

    def metrics(self, row: dict[str, Any]) -> None:
        """Write no row."""

    def evaluation(self, rows: list[tuple]) -> None:
        """Write no rows."""

    def sizes(self) -> list[dict[str, int]]:
        """Return that there are no files."""
        return []

    def update_manifest(self, **facts: Any) -> None:
        """Write no manifest."""

    def nan_report(self, seed: int, report: Mapping[str, Any]) -> None:
        """Write no report."""

    def close(self, state: str, **facts: Any) -> None:
        """Close nothing."""


class NullCheckpointWriter:
    """Knows of checkpoints what their Writer on process 0 does, and writes none."""

    def __init__(self, newest: int | None):
        """`newest` is the update of the one that was restored."""
        self.last = newest

    def __enter__(self) -> "NullCheckpointWriter":
        return self

    def __exit__(self, *error: Any) -> None: ...

    def newest(self) -> int | None:
        """Return the newest checkpoint's update."""
        return self.last

    def save(self, update: int, items: Any, notes: Any) -> int | None:
        """Take note that there is one."""
        self.last = update
        return update

    def wait_until_saved(self) -> int | None:
        """Return the newest checkpoint's update."""
        return self.last
