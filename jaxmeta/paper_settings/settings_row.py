"""A row of published settings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

ANY = "*"


class Row(NamedTuple):
    """Settings that a source publishes for some environments and methods.

    Attributes:
      preset: the preset that they belong to; "reference" overrides "paper".
      envs: names of environments, or ANY for all.
      methods: names of methods, or ANY for all.
      fields: dotted fields of a Run, or "workers" and "frames", and their values.
      source: where they are published.
    """

    preset: str
    envs: tuple[str, ...]
    methods: tuple[str, ...]
    fields: Mapping[str, Any]
    source: str
