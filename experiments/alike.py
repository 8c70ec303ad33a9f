"""Which runs may be compared: those on one version of the environment, made under one lock."""

from pathlib import Path

from experiments.record import Origin, Results

SHOWN = 12  # digits of a lock's hash


def alike(results: list[Results], given: list[Path]) -> list[list[Results]]:
    """Return groups of comparable runs, the largest first; of equal ones, the first given."""
    ordered = sorted(results, key=lambda result: given.index(result.path))
    origins = dict.fromkeys(result.origin for result in ordered)
    groups = [[result for result in results if result.origin == o] for o in origins]
    return sorted(groups, key=len, reverse=True)


def describe(origin: Origin | None) -> list[str]:
    """Return in words what a run comes from."""
    if origin is None:
        return ["no readable manifest"]
    version, lock = origin
    return [
        "environment from a file" if version is None else f"environment version {version}",
        "no lock" if lock is None else f"lock {lock[:SHOWN]}",
    ]


def differences(groups: list[list[Results]]) -> list[str]:
    """Return a line per group: its runs, and in what they differ from the first group."""
    first, *others = (describe(group[0].origin) for group in groups)
    said = [first, *([word for word in words if word not in first] for words in others)]
    return [
        f"  {', '.join(str(result.path) for result in group)}: {', '.join(words)}"
        for group, words in zip(groups, said, strict=True)
    ]


def folder_name(origin: Origin | None) -> str:
    """Return the name of a further group's folder."""
    if origin is None:
        return "figures-unknown"
    version, lock = ("none" if part is None else str(part)[:SHOWN] for part in origin)
    return f"figures-env-{version}-lock-{lock}"


def mixed(results: list[Results]) -> str:
    """Return a warning for a table or figure of runs that differ, otherwise nothing."""
    if len({result.origin for result in results}) < 2:
        return ""
    return "Mixed: these runs differ in the environment's version or in the lock."
