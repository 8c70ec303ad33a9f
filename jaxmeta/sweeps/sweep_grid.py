"""Which runs a sweep consists of, and which of them share a compiled program; without jax."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxmeta.config import resolve, user_code
from jaxmeta.config.option_fields import legacy_values
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

Overrides = dict[str, Any]  # dotted names and values


def product(grid: Mapping[str, Iterable[Any]]) -> list[Overrides]:
    """Return every combination of a grid's values; the last name varies fastest.

    Raises:
      ConfigError: a field without a list of values, or with none.
    """
    columns = {}
    for name, values in grid.items():
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            raise ConfigError(f"grid: {name} = {safe_repr(values)}: must be a list of values")
        columns[name] = list(values)
        if not columns[name]:
            raise ConfigError(f"grid: {name} = []: must hold at least one value")
    return [
        dict(zip(columns, values, strict=True)) for values in itertools.product(*columns.values())
    ]


def runs(bases: Sequence[Run], points: Sequence[Overrides], seeds: int | None) -> list[Run]:
    """Return every base at every point, each configuration once.

    Raises:
      ConfigError: a field or a value that a base does not take, or too few frames.
    """
    count = {} if seeds is None else {"seeds": seeds}
    found = [base.replace({**count, **point}) for base in bases for point in points]
    for run in found:
        run.require_update()
    return list({digest(run): run for run in found}.values())


def seed_count(seeds: Iterable[int] | int | None) -> int | None:
    """Return n for n, or for range(n), which is what a run's seeds are; None for None.

    Raises:
      ConfigError: other seeds.
    """
    if seeds is None or isinstance(seeds, int):
        return seeds
    listed = list(seeds)
    if listed != list(range(len(listed))):
        raise ConfigError(f"seeds = {safe_repr(listed)}: must be a number n, or range(n)")
    return len(listed)


def digest(run: Run) -> str:
    """Return a short hash of a configuration: its directory's name."""
    return digests(run)[0]


def digests(run: Run) -> list[str]:
    """Return the short hash of a configuration, then those by other spellings of its files.

    Earlier versions told own.py from own.py:make. A field added to the library later changes no
    name, while it does what was done before. Names and values alone count: a run that was read from
    a file has the same.
    """
    younger = resolve.registered_legacy_values() | legacy_values(Run)
    fields = run.fields()
    kept = {k: v for k, v in fields.items() if k not in younger or v != younger[k]}
    named = itertools.product(user_code.spellings(run.env), user_code.spellings(run.method))
    return [short_hash(kept | {"env": env, "method": method}) for env, method in named]


def short_hash(value: Any) -> str:
    """Return 12 hexadecimal digits of a JSON value's sha256."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def structure(run: Run) -> tuple[tuple[str, Any], ...]:
    """Return the fields that decide a program's shapes and code; the others are traced."""
    traced = set(run.traced())
    return tuple((name, value) for name, value in run.fields().items() if name not in traced)


def programs(wanted: Sequence[Run], most: int | None = None) -> list[list[Run]]:
    """Return runs grouped by structure, in groups of at most `most` members (run x seed)."""
    groups: dict[Any, list[Run]] = {}
    for run in wanted:
        groups.setdefault(structure(run), []).append(run)
    found = []
    for group in groups.values():
        size = len(group) if most is None else max(1, most // group[0].seeds)
        found += [group[i : i + size] for i in range(0, len(group), size)]
    return found
