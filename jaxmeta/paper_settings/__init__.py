"""Settings that papers and their code publish: a file per paper. This module lists them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmeta.paper_settings import dorfman_2021_varibad, lee_2021_ldm, wang_2023_moss
from jaxmeta.paper_settings.settings_row import ANY

PAPERS = (lee_2021_ldm, dorfman_2021_varibad, wang_2023_moss)
PRESETS = ("paper", "reference")


def rows(preset: str, envs: Sequence[str], method: str) -> list[Mapping[str, Any]]:
    """Return the fields of all rows that apply, lowest precedence first.

    Args:
      preset: rows of "reference" override those of "paper".
      envs: the environment's names, with that of the one it is like first.
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
