"""The format of what a run directory holds, by number: from 0.2 on older ones stay readable."""

from typing import Any

from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

FORMAT = 1  # of config.json, manifest.json, program.json and checkpoints; raised when they change
KEY = "format"  # of the number; files from before 0.2 have none


def require_known(found: Any, where: str) -> None:
    """Refuse a format that a later version of the library wrote; None is from before 0.2.

    Raises:
      ConfigError: names the file and what is known.
    """
    if found is None:
        return
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= FORMAT:
        raise ConfigError(
            f"format = {safe_repr(found)}: must be 1 to {FORMAT} in {where}; a later version of"
            " jaxmeta may have written it"
        )
