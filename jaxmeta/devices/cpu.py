"""This machine's processor: its name, its instructions, the cores that we may use. Without jax."""

import os
import platform
from pathlib import Path


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> str:
    """Return how many threads a computation on the CPU may use, on which bitwise results depend."""
    asked = os.environ.get("NPROC")
    return f"{cores()} cores" + (f", NPROC={asked}" if asked else "")


def processor() -> str:
    """Return the processor's name."""
    line = cpuinfo_line("model name")
    return line.split(":", 1)[1].strip() if line else platform.processor()


def instructions() -> str:
    """Return what the processor says it can do; nothing where it cannot be asked."""
    return cpuinfo_line("flags", "Features")


def cpuinfo_line(*names: str) -> str:
    """Return the first line that Linux has under one of these names, "" where it has none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line for line in lines if line.startswith(names)), "")


def use_share(share: str) -> None:
    """Keep this process to share "i/n" of its cores; before jax is imported."""
    place, _, of = share.partition("/")
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        own = cores[int(place) - 1 :: int(of)]
        os.sched_setaffinity(0, own or {cores[int(place) % len(cores)]})
