"""Text and values of unknown origin: printed on one escaped line, parsed defensively."""

import json
import reprlib
from typing import Any

from jaxmeta.errors import ConfigError

MAX_JSON_LENGTH = 1_000_000  # characters of a file; ours have 2,000
MAX_DIGITS = 100  # digits of a whole number in JSON
MAX_LINE_LENGTH = 300  # characters of another library's error
MAX_REPR_LENGTH = 100  # characters of a value in an error


def safe_repr(value: Any) -> str:
    """Return a value for an error: one line, shortened, control characters escaped."""
    short = reprlib.Repr()
    short.maxlevel = 2
    short.maxstring = short.maxother = short.maxlong = MAX_REPR_LENGTH
    try:
        text = short.repr(value)
    except ValueError:  # Python prints no number of more than 4,300 digits
        text = "a number of thousands of digits"
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= MAX_REPR_LENGTH else text[: MAX_REPR_LENGTH - 3] + "..."


def one_line(text: str) -> str:
    """Return a text's first lines as one line of printable characters, shortened."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= MAX_LINE_LENGTH else line[: MAX_LINE_LENGTH - 3] + "..."


def safe_name(name: Any) -> str:
    """Return a name for an error: unchanged where it is short and printable, else as a value."""
    fits = isinstance(name, str) and 0 < len(name) <= MAX_REPR_LENGTH and name.isprintable()
    return name if fits else safe_repr(name)


def parse_json_object(text: str, where: str) -> dict[str, Any]:
    """Return the object that a JSON text of unknown origin holds.

    Integers of too many digits stay text, as converting them takes quadratic time.

    Raises:
      ConfigError: no JSON, no object, a repeated name, or far too long.
    """

    def parse_int(digits: str) -> int | str:
        return int(digits) if len(digits) <= MAX_DIGITS else digits

    def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ConfigError(f"{safe_name(name)}: is in {where} twice; must be there once")
            found[name] = value
        return found

    if len(text) > MAX_JSON_LENGTH:
        raise ConfigError(f"{where}: must have at most {MAX_JSON_LENGTH:,} characters")
    try:
        value = json.loads(text, parse_int=parse_int, object_pairs_hook=reject_duplicates)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None
    except RecursionError:
        raise ConfigError(f"{where}: must not be nested that deeply") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: must be an object of dotted names, not {safe_repr(value)}")
    return value
