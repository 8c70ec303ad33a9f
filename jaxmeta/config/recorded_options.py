"""Options of user code that has not been imported, as config.json holds them."""

import math
from dataclasses import dataclass
from typing import Any

from jaxmeta.config.option_fields import FIELD, MAX_LIST, MAX_TEXT, NAME
from jaxmeta.config.untrusted_text import MAX_DIGITS, safe_repr
from jaxmeta.errors import ConfigError

MAX_FIELDS = 1000  # of all sections of one run together


@dataclass(frozen=True)
class RecordedSection:
    """A section read from config.json without its class: names and values, without their types.

    Floats are inputs of a compiled program, like those of any section.
    """

    _items: tuple[tuple[str, Any], ...]  # no option's name begins like this

    def __getattr__(self, name: str) -> Any:
        for known, value in self.__dict__.get("_items", ()):
            if known == name:
                return value
        raise AttributeError(f"{name}: no such field in config.json")

    def replace(self, values: dict[str, Any]) -> "RecordedSection":
        """Return the section with some values changed.

        Raises:
          ConfigError: a value that no option could have.
        """
        kept = {name: validate_value(name, value) for name, value in values.items()}
        return RecordedSection(tuple((self.fields() | kept).items()))

    def fields(self) -> dict[str, Any]:
        """Return all names and values."""
        return dict(self._items)


def split_name(name: Any) -> tuple[str, str] | None:
    """Return section and field of a well-formed dotted name, else None."""
    section, _, field_name = name.partition(".") if isinstance(name, str) else ("", "", "")
    well_formed = NAME.fullmatch(section) and FIELD.fullmatch(field_name)
    return (section, field_name) if well_formed else None


def validate_value(name: str, value: Any) -> Any:
    """Return a value as a RecordedSection holds it; a list becomes a tuple.

    Raises:
      ConfigError: it is of no option's type, or too large for one.
    """
    kept = tuple(value) if isinstance(value, (list, tuple)) else value
    parts = kept if isinstance(kept, tuple) else (kept,)
    if len(parts) > MAX_LIST or not all(map(is_plain_value, parts)):
        raise ConfigError(
            f"{name} = {safe_repr(value)}: must be a number, true or false, a short text, or a"
            " short list of those"
        )
    return kept


def is_plain_value(value: Any) -> bool:
    """Whether a value is a number or a short text."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and value.isprintable()
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 10**MAX_DIGITS
