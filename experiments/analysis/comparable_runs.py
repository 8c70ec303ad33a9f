"""Which runs may be compared: those on one environment, and on one version of every package."""

import hashlib
from pathlib import Path

from experiments.analysis.run_record import Origin, Results


def group_comparable(results: list[Results], given: list[Path]) -> list[list[Results]]:
    """Return groups of comparable runs, the largest first; ties are in the given order."""
    ordered = sorted(results, key=lambda result: given.index(result.path))
    origins = dict.fromkeys(result.origin for result in ordered)
    groups = [[result for result in results if result.origin == o] for o in origins]
    return sorted(groups, key=len, reverse=True)


def describe(origin: Origin | None) -> list[str]:
    """Return an origin in words."""
    if origin is None:
        return ["no readable manifest"]
    version, packages, options = origin
    return [
        "environment from a file" if version is None else f"environment version {version}",
        *options,
        *(packages or ["no package's version"]),
    ]


def differences(groups: list[list[Results]]) -> list[str]:
    """Return a line per group: its runs, and their differences from the first group."""
    first, *others = (describe(group[0].origin) for group in groups)
    differing = [first]
    for words in others:
        own, lacking = ([w for w in a if w not in b] for a, b in ((words, first), (first, words)))
        differing.append(own or [f"without {word}" for word in lacking])
    return [
        f"  {', '.join(str(result.path) for result in group)}: {', '.join(words)}"
        for group, words in zip(groups, differing, strict=True)
    ]


def folder_name(origin: Origin | None) -> str:
    """Return the name of a further group's folder."""
    if origin is None:
        return "figures-unknown"
    version = "none" if origin.env_version is None else origin.env_version
    rest = repr(origin.versions) + "".join(origin.options)
    return f"figures-env-{version}-versions-{hashlib.sha256(rest.encode()).hexdigest()[:12]}"


def mixed_warning(results: list[Results]) -> str:
    """Return a warning for a table or figure of runs that differ, otherwise nothing."""
    if len({result.origin for result in results}) < 2:
        return ""
    return "Mixed: these runs differ in the environment, in its version, or in a package's."
