"""What a configuration field may be: declared beside it, checked without jax."""

import dataclasses
import math
from dataclasses import field
from typing import Any

from jaxmeta.errors import ConfigError


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


def field_names(owner: Any) -> list[str]:
    """Return a dataclass's field names."""
    return [f.name for f in dataclasses.fields(owner)]


def allowed(f: dataclasses.Field) -> str:
    """Return in words what a field may be."""
    limits = f.metadata
    if limits["choices"]:
        kind = "some of" if "tuple" in str(f.type) else "one of"
        return f"{kind} {', '.join(limits['choices'])}"
    number = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    words = number.get(getattr(f.type, "__name__", ""), "numbers" if limits["low"] else "text")
    bounds = [
        f"{sign} {limits[key]:g}"
        for key, sign in (("low", ">="), ("high", "<="), ("below", "<"))
        if limits[key] is not None
    ]
    return " ".join([words, " and ".join(bounds)]).strip()


def check_value(owner: Any, leaf: str, prefix: str = "") -> None:
    """Check one field, converting what JSON or a command line can't tell apart.

    Raises:
      ConfigError: a value of the wrong kind or out of bounds.
    """
    f = next(f for f in dataclasses.fields(owner) if f.name == leaf)
    value = getattr(owner, leaf)
    limits = f.metadata
    refuse = ConfigError(f"{prefix}{leaf} = {value!r}: must be {allowed(f)}")
    if "tuple" in str(f.type):
        value = parse_tuple(value)
        if not value and leaf != "policy_layers":
            raise refuse
        if limits["choices"]:
            good = set(value) <= set(limits["choices"]) and len(set(value)) == len(value)
        else:
            value = tuple(as_number(v, int) for v in value)
            good = all(v is not None and v >= limits["low"] for v in value)
    elif f.type is bool:
        value = {"true": True, "false": False}.get(str(value).lower())
        good = value is not None
    elif f.type in (int, float):
        value = as_number(value, f.type)
        good = (
            value is not None
            and (limits["low"] is None or value >= limits["low"])
            and (limits["high"] is None or value <= limits["high"])
            and (limits["below"] is None or value < limits["below"])
        )
    else:
        good = isinstance(value, str) and (not limits["choices"] or value in limits["choices"])
    if not good:
        raise refuse
    object.__setattr__(owner, leaf, value)


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
