"""What a configuration field may be: declared beside it, in a section, checked without jax.

A value may come from a stranger's file: nothing here trusts its kind, size or characters.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, dataclass_transform, get_type_hints

from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

LONGEST_TEXT = 1000  # characters of a text field
LONGEST_LIST = 100  # entries of a list of numbers
NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")  # of a section
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,48}")  # of one of its options
UNSAID: Any = object()
T = TypeVar("T")


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] = (),
    empty: bool = False,
    before: Any = UNSAID,
) -> Any:
    """Return a dataclass field with its meaning and what it may be (low <= value <= high).

    Args:
      default: its value unless a method, an environment, a paper or the user says otherwise.
      doc: what it means, for --help and the docs.
      low, high, below: bounds of numbers, or of each in a list.
      choices: the words that it may be, or that a list may hold.
      empty: whether a list may be empty.
      before: where the field is younger than published configurations, what runs did before.
    """
    limits = {"low": low, "high": high, "below": below, "choices": choices, "empty": empty}
    return field(default=default, metadata={"doc": doc, "before": before, **limits})


# No one means to pass these limits: a number beyond them is a slip that takes all memory.
units = partial(setting, low=1, high=100_000)
count = partial(setting, low=1, high=1_000_000)
frame_count = partial(setting, low=1, high=10**15)


KINDS = (int, float, bool, str, tuple[int, ...], tuple[str, ...])  # of fields


@dataclass_transform(frozen_default=True)
def section(name: str) -> Callable[[type[T]], type[T]]:
    """Make a class a section of a Run: a frozen dataclass of `setting`s, `run.<name>.<field>`.

    Whoever reads options declares them so. A method names its sections (`MethodSpec.sections`,
    or an attribute of a maker in a file), an environment its one, which is called "env".

    A section may have a method `check(run)`, which raises ConfigError where the run's fields
    do not fit together, and others that say what somebody else asks for: see `Run.told`.

    Raises:
      ConfigError: no name that can stand in front of a dot, or a field that is no `setting`
        of one of the KINDS.
    """

    def declare(owner: type[T]) -> type[T]:
        made: Any = dataclass(frozen=True)(owner)
        hints = get_type_hints(made)
        for f in dataclasses.fields(made):
            f.type = hints[f.name]  # not its text, which a file may have asked for
            if "doc" not in f.metadata or f.type not in KINDS:
                kinds = "int, float, bool, str, tuple[int, ...] or tuple[str, ...]"
                raise ConfigError(f"{name}.{f.name}: must be a setting(...), of {kinds}")
            if not FIELD.fullmatch(f.name):
                raise ConfigError(f"{name}.{f.name}: must have a name of up to 49 plain letters")
            if f.type == tuple[str, ...] and not f.metadata["choices"]:
                raise ConfigError(f"{name}.{f.name}: a list of words must have choices")
            if accepted(f, f.default) is None:
                raise ConfigError(f"{name}.{f.name} = {safe_repr(f.default)}: must be {allowed(f)}")
        made.section = name
        return made

    if not NAME.fullmatch(str(name)):
        raise ConfigError(f"section {safe_repr(name)}: must be a name such as fading")
    return declare


def field_names(owner: Any) -> list[str]:
    """Return the names of a dataclass's fields that are settings."""
    return [f.name for f in dataclasses.fields(owner) if "doc" in f.metadata]


def float_names(owner: Any) -> list[str]:
    """Return the names of a section's floats: the numbers that a compiled program is fed."""
    return [f.name for f in dataclasses.fields(owner) if f.type is float]


def before(owner: Any) -> dict[str, Any]:
    """Return what runs did before some fields of a section, or of Run, were added."""
    told = {f.name: f.metadata.get("before", UNSAID) for f in dataclasses.fields(owner)}
    return {name: value for name, value in told.items() if value is not UNSAID}


def help_of(owner: Any, name: str) -> str:
    """Return a field's meaning and default, as argparse wants them for --help.

    A class has general defaults, a section of some run that run's.
    """
    found = next(f for f in dataclasses.fields(owner) if f.name == name)
    general = "general " if isinstance(owner, type) else ""
    told = f"{found.metadata['doc']} ({general}default: {getattr(owner, name)})"
    return told.replace("%", "%%")


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


def check_value(owner: Any, leaf: str, prefix: str = "") -> None:
    """Check one field, converting what JSON or a command line can't tell apart.

    Raises:
      ConfigError: a value of the wrong kind or out of bounds.
    """
    object.__setattr__(owner, leaf, checked(type(owner), leaf, getattr(owner, leaf), prefix))


def checked(owner: type, leaf: str, given: Any, prefix: str = "") -> Any:
    """Return a value as the field of a section, or of Run, holds it.

    Raises:
      ConfigError: it is of the wrong kind or out of bounds.
    """
    f = next(f for f in dataclasses.fields(owner) if f.name == leaf)
    value = accepted(f, given)
    if value is None:
        raise ConfigError(f"{prefix}{leaf} = {safe_repr(given)}: must be {allowed(f)}")
    return value


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
    """Return a list as its field holds it, or None."""
    choices = f.metadata["choices"]
    if choices:
        good = all(v in choices for v in values) and len(set(values)) == len(values)
    else:
        few = values[: LONGEST_LIST + 1]
        values = tuple(within(f.metadata, as_number(v, int)) for v in few)
        good = None not in values and len(values) <= LONGEST_LIST
    return values if good and (values or f.metadata["empty"]) else None


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
