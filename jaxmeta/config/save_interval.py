"""The interval between checkpoints: in seconds, or in updates."""

import re
from typing import NamedTuple

from jaxmeta.errors import ConfigError


class Interval(NamedTuple):
    """A number of seconds, or of updates."""

    seconds: float
    updates: int  # 0: `seconds` counts


def parse_interval(text: str) -> Interval:
    """Return "120s" or "50u" (updates) as a Interval.

    Raises:
      ConfigError: anything else.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s|([1-9]\d{0,17})u", str(text))
    if found is None:
        raise ConfigError(
            f"checkpoint_every = {text!r}: must be seconds such as 120s, or updates such as 50u"
        )
    return Interval(float(found[1] or 0), int(found[2] or 0))
