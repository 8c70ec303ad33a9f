"""Code by name, "module:function" or FILE.py:FUNCTION: the one place where files become code."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxmeta.errors import ConfigError

BEFORE_FILES = "jaxmeta.devices.seed_axis:ask_for_all"

_executed: dict[tuple[Path, str], ModuleType] = {}  # by place and content


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


def load(make: str) -> Any:
    """Return what "module:name" or "FILE.py:name" names; a file is executed once per process.

    Raises:
      ConfigError: there is no such name.
    """
    place, _, name = make.rpartition(":")
    module = executed(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    if not hasattr(module, name):
        raise ConfigError(f"{make}: {place} has no function {name}")
    return getattr(module, name)


def executed(path: Path) -> ModuleType:
    """Return a file's module: executed, unless it was before with this very content.

    A file may use JAX as soon as it is executed; what must be asked of JAX before is asked first.
    """
    known = path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest()
    if known not in _executed:
        load(BEFORE_FILES)()
        spec = importlib.util.spec_from_file_location(f"jaxmeta_file_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        _executed[known] = module
    return _executed[known]
