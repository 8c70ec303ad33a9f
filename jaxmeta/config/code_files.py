"""Code by name, "module:function" or FILE.py:FUNCTION: the one place where files become code."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxmeta.errors import ConfigError


def is_file(name: str) -> bool:
    """Whether a name means FILE.py:FUNCTION."""
    return name.rpartition(":")[0].endswith(".py") or name.endswith(".py")


def file_of(name: str) -> Path:
    """Return the file of a name that means FILE.py:FUNCTION."""
    return Path(with_function(name).rpartition(":")[0])


def with_function(name: str) -> str:
    """Return FILE.py:FUNCTION with the function filled in ("make")."""
    return f"{name}:make" if name.endswith(".py") else name


def require_file(field: str, name: str) -> None:
    """Refuse a name of the form FILE.py:FUNCTION whose file is missing.

    Raises:
      ConfigError: there is no such file.
    """
    path = with_function(name).rpartition(":")[0]
    if is_file(name) and not Path(path).is_file():
        raise ConfigError(f"{field} = {name!r}: there is no file {path}")


def load(make: str) -> Callable[..., Any]:
    """Return the function that "module:function" or "FILE.py:FUNCTION" names.

    Raises:
      ConfigError: the function does not exist.
    """
    place, _, name = make.rpartition(":")
    if place.endswith(".py"):
        unique = f"jaxmeta_file_{Path(place).stem}"
        spec = importlib.util.spec_from_file_location(unique, place)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    if not hasattr(module, name):
        raise ConfigError(f"{make}: {place} has no function {name}")
    return getattr(module, name)
