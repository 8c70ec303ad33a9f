"""How often something is done: by the clock, or by updates."""

import re
from typing import NamedTuple

from jaxmeta.errors import ConfigError


class Period(NamedTuple):
    """Every so many seconds, or every so many updates."""

    seconds: float
    updates: int  # 0: by the clock


def period(text: str) -> Period:
    """Return "120s" or "50u" (updates) as a Period.

    Raises:
      ConfigError: anything else.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s|([1-9]\d{0,17})u", str(text))
    if found is None:
        raise ConfigError(
            f"checkpoint_every = {text!r}: must be seconds such as 120s, or updates such as 50u"
        )
    return Period(float(found[1] or 0), int(found[2] or 0))
