"""Text and values of unknown origin: shown in one harmless line, read without trust."""

import json
import reprlib
from typing import Any

from jaxmeta.errors import ConfigError

LONGEST_JSON = 1_000_000  # characters of a file; ours have 2,000
LONGEST_NUMBER = 100  # digits of a whole number in JSON
LONGEST_LINE = 300  # characters of an error of someone else's
LONGEST_SHOWN = 100  # characters of a value in an error


def safe_repr(value: Any) -> str:
    """Return a value for an error: one line, shortened, control characters escaped."""
    short = reprlib.Repr()
    short.maxlevel = 2
    short.maxstring = short.maxother = short.maxlong = LONGEST_SHOWN
    try:
        text = short.repr(value)
    except ValueError:  # Python prints no number of more than 4,300 digits
        text = "a number of thousands of digits"
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def one_line(text: str) -> str:
    """Return a text's first lines as one line of printable characters, shortened."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "..."


def safe_name(name: Any) -> str:
    """Return a name for an error: as it is where that is harmless, else as a value."""
    fits = isinstance(name, str) and 0 < len(name) <= LONGEST_SHOWN and name.isprintable()
    return name if fits else safe_repr(name)


def read_object(text: str, where: str) -> dict[str, Any]:
    """Return the object that a JSON text of unknown origin holds.

    Whole numbers too long to be meant stay text, as converting them takes quadratic time.

    Raises:
      ConfigError: no JSON, no object, a name that is there twice, or far too long.
    """

    def whole(digits: str) -> int | str:
        return int(digits) if len(digits) <= LONGEST_NUMBER else digits

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ConfigError(f"{safe_name(name)}: is in {where} twice; must be there once")
            found[name] = value
        return found

    if len(text) > LONGEST_JSON:
        raise ConfigError(f"{where}: must have at most {LONGEST_JSON:,} characters")
    try:
        value = json.loads(text, parse_int=whole, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None
    except RecursionError:
        raise ConfigError(f"{where}: must not be nested that deeply") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: must be an object of dotted names, not {safe_repr(value)}")
    return value
