"""What a configuration field may be: declared beside it, checked without jax.

A value may come from a stranger's file: nothing here trusts its kind, size or characters.
"""

import dataclasses
import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import field
from functools import partial
from typing import Any

from jaxmeta.errors import ConfigError

LONGEST_TEXT = 1000  # characters of a text field
LONGEST_LIST = 100  # entries of a list of numbers
LONGEST_JSON = 1_000_000  # characters of a file; ours have 2,000
LONGEST_NUMBER = 100  # digits of a whole number in JSON
LONGEST_LINE = 300  # characters of an error of someone else's
LONGEST_SHOWN = 100  # characters of a value in an error


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """Return a dataclass field with its meaning and what it may be (low <= value <= high)."""
    limits = {"low": low, "high": high, "below": below, "choices": choices}
    return field(default=default, metadata={"doc": doc, **limits})


# No one means to pass these limits: a number beyond them is a slip that takes all memory.
units = partial(setting, low=1, high=100_000)
count = partial(setting, low=1, high=1_000_000)
frame_count = partial(setting, low=1, high=10**15)


def field_names(owner: Any) -> list[str]:
    """Return a dataclass's field names."""
    return [f.name for f in dataclasses.fields(owner)]


def allowed(f: dataclasses.Field) -> str:
    """Return in words what a field may be."""
    limits, is_list = f.metadata, "tuple" in str(f.type)
    if limits["choices"]:
        return f"{'some of' if is_list else 'one of'} {', '.join(limits['choices'])}"
    if f.type is str:
        return f"text of 1 to {LONGEST_TEXT} printable characters"
    number = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    words = number.get(getattr(f.type, "__name__", ""), "whole numbers")
    bounds = [
        f"{sign} {limits[key]:,.16g}"
        for key, sign in (("low", ">="), ("high", "<="), ("below", "<"))
        if limits[key] is not None
    ]
    most = f", at most {LONGEST_LIST}" if is_list else ""
    return " ".join([words, " and ".join(bounds)]).strip() + most


def shown(value: Any) -> str:
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


def shown_name(name: Any) -> str:
    """Return a name for an error: as it is where that is harmless, else as a value."""
    fits = isinstance(name, str) and 0 < len(name) <= LONGEST_SHOWN and name.isprintable()
    return name if fits else shown(name)


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
                raise ConfigError(f"{shown_name(name)}: is in {where} twice; must be there once")
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
        raise ConfigError(f"{where}: must be an object of dotted names, not {shown(value)}")
    return value


def check_value(owner: Any, leaf: str, prefix: str = "") -> None:
    """Check one field, converting what JSON or a command line can't tell apart.

    Raises:
      ConfigError: a value of the wrong kind or out of bounds.
    """
    f = next(f for f in dataclasses.fields(owner) if f.name == leaf)
    given = getattr(owner, leaf)
    value = accepted(f, given)
    if value is None:
        raise ConfigError(f"{prefix}{leaf} = {shown(given)}: must be {allowed(f)}")
    object.__setattr__(owner, leaf, value)


def accepted(f: dataclasses.Field, value: Any) -> Any:
    """Return a value as its field holds it, or None if it may not be that."""
    choices = f.metadata["choices"]
    if "tuple" in str(f.type):
        return accepted_list(f, parse_tuple(value))
    if f.type is bool:
        word = str(value).lower() if isinstance(value, (bool, str)) else ""
        return {"true": True, "false": False}.get(word)
    if f.type in (int, float):
        return within(f.metadata, as_number(value, f.type))
    if not isinstance(value, str):
        return None
    good = value in choices if choices else 0 < len(value) <= LONGEST_TEXT and value.isprintable()
    return value if good else None


def accepted_list(f: dataclasses.Field, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return a list as its field holds it, or None; only `policy_layers` may be empty."""
    choices = f.metadata["choices"]
    if choices:
        good = all(v in choices for v in values) and len(set(values)) == len(values)
    else:
        few = values[: LONGEST_LIST + 1]
        values = tuple(within(f.metadata, as_number(v, int)) for v in few)
        good = None not in values and len(values) <= LONGEST_LIST
    return values if good and (values or f.name == "policy_layers") else None


def within(limits: Mapping[str, Any], number: Any) -> Any:
    """Return the number if it is one and keeps the limits, or None."""
    good = (
        number is not None
        and (limits["low"] is None or number >= limits["low"])
        and (limits["high"] is None or number <= limits["high"])
        and (limits["below"] is None or number < limits["below"])
    )
    return number if good else None


def parse_tuple(value: Any) -> tuple[Any, ...]:
    """Return a tuple from a sequence, a lone number, or text such as "64,32"."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def as_number(value: Any, kind: type) -> Any:
    """Return a finite int or float from a number or its text ("200_000", "1e8"), or None."""
    if isinstance(value, bool):
        return None
    try:
        if kind is int and not isinstance(value, (str, float)):
            return int(value)
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number) or (kind is int and number != int(number)):
        return None
    return kind(number)
