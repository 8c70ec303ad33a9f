"""Options of code that is not at hand, as a config.json holds them."""

import math
from dataclasses import dataclass
from typing import Any

from jaxmeta.config.fields import FIELD, LONGEST_LIST, LONGEST_TEXT, NAME
from jaxmeta.config.untrusted_text import LONGEST_NUMBER, safe_repr
from jaxmeta.errors import ConfigError

MOST_FIELDS = 1000  # of all sections of one run together


@dataclass(frozen=True)
class Recorded:
    """A section whose class nobody declares: names and values, safe_repr, compared, never believed.

    Floats are numbers of a compiled program, like those of any section.
    """

    _items: tuple[tuple[str, Any], ...]  # no option's name begins like this

    def __getattr__(self, name: str) -> Any:
        for known, value in self.__dict__.get("_items", ()):
            if known == name:
                return value
        raise AttributeError(f"{name}: no such field on record")

    def replace(self, values: dict[str, Any]) -> "Recorded":
        """Return the section with some values changed.

        Raises:
          ConfigError: a value is nothing that could be kept.
        """
        kept = {name: accepted(name, value) for name, value in values.items()}
        return Recorded(tuple((self.fields() | kept).items()))

    def fields(self) -> dict[str, Any]:
        """Return all names and values."""
        return dict(self._items)


def split(name: Any) -> tuple[str, str] | None:
    """Return section and field of a dotted name that could be on record, else None."""
    section, _, leaf = name.partition(".") if isinstance(name, str) else ("", "", "")
    return (section, leaf) if NAME.fullmatch(section) and FIELD.fullmatch(leaf) else None


def accepted(name: str, value: Any) -> Any:
    """Return a value as it is kept on record; a list becomes a tuple.

    Raises:
      ConfigError: it is nothing that an option could be, or too large for one.
    """
    kept = tuple(value) if isinstance(value, (list, tuple)) else value
    parts = kept if isinstance(kept, tuple) else (kept,)
    if len(parts) > LONGEST_LIST or not all(map(harmless, parts)):
        raise ConfigError(
            f"{name} = {safe_repr(value)}: must be a number, true or false, a short text, or a"
            " short list of those"
        )
    return kept


def harmless(value: Any) -> bool:
    """Whether a value is a number or a text of an option's size."""
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT and value.isprintable()
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 10**LONGEST_NUMBER
