"""Settings that papers and their code publish: a file per paper. This module lists them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmeta.papers import dorfman_2021, lee_2021, wang_2023
from jaxmeta.papers.table import ANY

PAPERS = (lee_2021, dorfman_2021, wang_2023)
PRESETS = ("paper", "reference")


def rows(preset: str, envs: Sequence[str], method: str) -> list[Mapping[str, Any]]:
    """Return the fields of all rows that hold, in the order in which they count.

    Args:
      preset: what "reference" says comes behind what "paper" says.
      envs: an environment's names, the one that it is like first.
      method: a method's name.
    """
    return [
        row.fields
        for p in dict.fromkeys(("paper", preset))
        for env in (ANY, *envs)
        for name in (ANY, method)
        for paper in PAPERS
        for row in paper.ROWS
        if row.preset == p and env in row.envs and name in row.methods
    ]
