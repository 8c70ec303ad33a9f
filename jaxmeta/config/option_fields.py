"""Configuration fields: types and bounds, declared in a section, checked without jax.

A value may come from an untrusted file: its type, size and characters are checked.
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

MAX_TEXT = 1000  # characters of a text field
MAX_LIST = 100  # entries of a list of numbers
NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")  # of a section
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,48}")  # of one of its options
MISSING: Any = object()  # no legacy value
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
    before: Any = MISSING,
) -> Any:
    """Return a dataclass field with its meaning and its bounds (low <= value <= high).

    Args:
      default: its value unless a method, an environment, a paper or the user sets another.
      doc: its meaning, for --help and the docs.
      low, high, below: bounds of numbers, or of each in a list.
      choices: the allowed words, of a text or of a list of them.
      empty: whether a list may be empty.
      before: for fields added after configurations were published: the value that older runs
        implicitly had.
    """
    limits = {"low": low, "high": high, "below": below, "choices": choices, "empty": empty}
    return field(default=default, metadata={"doc": doc, "before": before, **limits})


# A number beyond these limits is a typo that would take all memory.
units = partial(setting, low=1, high=100_000)
count = partial(setting, low=1, high=1_000_000)
frame_count = partial(setting, low=1, high=10**15)


KINDS = (int, float, bool, str, tuple[int, ...], tuple[str, ...])  # of fields


@dataclass_transform(frozen_default=True)
def section(name: str) -> Callable[[type[T]], type[T]]:
    """Make a class a section of a Run: a frozen dataclass of `setting`s, `run.<name>.<field>`.

    Each module declares the options that it reads. A method names its sections
    (`MethodSpec.sections`, or an attribute of a maker in a file), an environment its one, which
    is called "env".

    A section may have a method `check(run)`, which raises ConfigError where the run's fields
    are inconsistent, and other hooks that the library calls: see `Run.section_facts`.

    Raises:
      ConfigError: a name that is no plain word, or a field that is no `setting` of one of the
        KINDS.
    """

    def decorator(cls: type[T]) -> type[T]:
        section_class: Any = dataclass(frozen=True)(cls)
        hints = get_type_hints(section_class)
        for f in dataclasses.fields(section_class):
            f.type = hints[f.name]  # the type, where annotations are text
            if "doc" not in f.metadata or f.type not in KINDS:
                kinds = "int, float, bool, str, tuple[int, ...] or tuple[str, ...]"
                raise ConfigError(f"{name}.{f.name}: must be a setting(...), of {kinds}")
            if not FIELD.fullmatch(f.name):
                raise ConfigError(f"{name}.{f.name}: must have a name of up to 49 plain letters")
            if f.type == tuple[str, ...] and not f.metadata["choices"]:
                raise ConfigError(f"{name}.{f.name}: a list of words must have choices")
            if coerce(f, f.default) is None:
                raise ConfigError(f"{name}.{f.name} = {safe_repr(f.default)}: must be {allowed(f)}")
        section_class.section = name
        return section_class

    if not NAME.fullmatch(str(name)):
        raise ConfigError(f"section {safe_repr(name)}: must be a name such as fading")
    return decorator


def field_names(cls: Any) -> list[str]:
    """Return the names of a dataclass's fields that are settings."""
    return [f.name for f in dataclasses.fields(cls) if "doc" in f.metadata]


def float_names(cls: Any) -> list[str]:
    """Return the names of a section's floats: the inputs of a compiled program."""
    return [f.name for f in dataclasses.fields(cls) if f.type is float]


def legacy_values(cls: Any) -> dict[str, Any]:
    """Return the values that runs had before these fields of a section, or of Run, were added."""
    values = {f.name: f.metadata.get("before", MISSING) for f in dataclasses.fields(cls)}
    return {name: value for name, value in values.items() if value is not MISSING}


def help_of(section: Any, name: str) -> str:
    """Return a field's meaning and default for argparse's --help.

    A class has general defaults, a section of a run that run's. None is filled in by a run.
    """
    f = next(f for f in dataclasses.fields(section) if f.name == name)
    general = "general " if isinstance(section, type) else ""
    value = getattr(section, name)
    default = "by environment and method" if value is None else f"{general}default: {value}"
    text = f"{f.metadata['doc']} ({default})"
    return text.replace("%", "%%")


def allowed(f: dataclasses.Field) -> str:
    """Return in words the values that a field allows."""
    limits, is_list = f.metadata, "tuple" in str(f.type)
    if limits["choices"]:
        return f"{'some of' if is_list else 'one of'} {', '.join(limits['choices'])}"
    if f.type is str:
        return f"text of 1 to {MAX_TEXT} printable characters"
    number = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    words = number.get(getattr(f.type, "__name__", ""), "whole numbers")
    bounds = [
        f"{sign} {limits[key]:,.16g}"
        for key, sign in (("low", ">="), ("high", "<="), ("below", "<"))
        if limits[key] is not None
    ]
    most = f", at most {MAX_LIST}" if is_list else ""
    return " ".join([words, " and ".join(bounds)]).strip() + most


def check_value(section: Any, field_name: str, prefix: str = "") -> None:
    """Check and coerce one field of a section, or of a Run.

    Raises:
      ConfigError: a value of the wrong kind or out of bounds.
    """
    value = checked(type(section), field_name, getattr(section, field_name), prefix)
    object.__setattr__(section, field_name, value)


def checked(cls: type, field_name: str, given: Any, prefix: str = "") -> Any:
    """Return a value coerced to the type of a field of a section, or of Run.

    Raises:
      ConfigError: it is of the wrong kind or out of bounds.
    """
    f = next(f for f in dataclasses.fields(cls) if f.name == field_name)
    value = coerce(f, given)
    if value is None:
        raise ConfigError(f"{prefix}{field_name} = {safe_repr(given)}: must be {allowed(f)}")
    return value


def coerce(f: dataclasses.Field, value: Any) -> Any:
    """Return a value coerced to its field's type, or None if it is not allowed."""
    choices = f.metadata["choices"]
    if "tuple" in str(f.type):
        return coerce_list(f, parse_tuple(value))
    if f.type is bool:
        word = str(value).lower() if isinstance(value, (bool, str)) else ""
        return {"true": True, "false": False}.get(word)
    if f.type in (int, float):
        return in_bounds(f.metadata, as_number(value, f.type))
    if not isinstance(value, str):
        return None
    good = value in choices if choices else 0 < len(value) <= MAX_TEXT and value.isprintable()
    return value if good else None


def coerce_list(f: dataclasses.Field, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return a list coerced to its field's type, or None."""
    choices = f.metadata["choices"]
    if choices:
        good = all(v in choices for v in values) and len(set(values)) == len(values)
    else:
        few = values[: MAX_LIST + 1]
        values = tuple(in_bounds(f.metadata, as_number(v, int)) for v in few)
        good = None not in values and len(values) <= MAX_LIST
    return values if good and (values or f.metadata["empty"]) else None


def in_bounds(limits: Mapping[str, Any], number: Any) -> Any:
    """Return the number if it is one and within its bounds, or None."""
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
