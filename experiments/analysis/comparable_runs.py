"""Which runs may be compared: those by one version of an environment, of packages, of code."""

import hashlib
from pathlib import Path
from typing import Any

from experiments.analysis.run_record import Origin, Results


def group_comparable(results: list[Results], given: list[Path]) -> list[list[Results]]:
    """Return groups of comparable runs, the largest first; ties are in the given order.

    Methods are compared, two versions of one method's code are not: the first given stays with
    the other methods.
    """
    ordered = sorted(results, key=lambda result: given.index(result.path))
    first: dict[tuple[Any, str], str] = {}  # code by what else runs share, and by method
    kinds: dict[Path, tuple[Any, str]] = {}
    for result in ordered:
        code = result.origin.method_code if result.origin else ""
        shared = result.origin and result.origin._replace(method_code="")
        kept = first.setdefault((shared, result.run.method), code)
        kinds[result.path] = shared, "" if code == kept else code
    wanted = dict.fromkeys(kinds.values())
    groups = [[result for result in results if kinds[result.path] == kind] for kind in wanted]
    return sorted(groups, key=len, reverse=True)


def describe(origin: Origin | None) -> list[str]:
    """Return an origin in words."""
    if origin is None:
        return ["no readable manifest"]
    version, packages, options, env_code, method_code = origin
    return [
        "environment from a file" if version is None else f"environment version {version}",
        *([f"environment's code {env_code}"] if env_code else []),
        *([f"method's code {method_code}"] if method_code else []),
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
    rest = repr(origin.versions) + "".join(origin.options) + origin.env_code + origin.method_code
    return f"figures-env-{version}-versions-{hashlib.sha256(rest.encode()).hexdigest()[:12]}"


def mixed_warning(results: list[Results]) -> str:
    """Return a warning for a table or figure of runs that differ, otherwise nothing."""
    if len(group_comparable(results, [result.path for result in results])) < 2:
        return ""
    return "Mixed: these runs differ in the environment, in its version or code, or in a package's."


def python_note(results: list[Results]) -> list[str]:
    """Return a remark where runs of one table were made under several versions of Python."""
    paths: dict[str, list[str]] = {}
    for result in results:
        if result.python:
            paths.setdefault(result.python, []).append(str(result.path))
    if len(paths) < 2:
        return []
    made = "; ".join(f"{python}: {', '.join(of)}" for python, of in paths.items())
    return [f"made under several versions of Python, which may give other bits: {made}"]
