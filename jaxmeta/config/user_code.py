"""Code by name, "module:function" or FILE.py:FUNCTION; only this module executes files."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxmeta.config import own_packages
from jaxmeta.errors import ConfigError

BEFORE_USER_CODE = "jaxmeta.devices.seed_axis:request_all_cpu_devices"

_modules: dict[tuple[Path, str], ModuleType] = {}  # by path and content


def is_file(name: str) -> bool:
    """Whether a name means FILE.py:FUNCTION."""
    return name.rpartition(":")[0].endswith(".py") or name.endswith(".py")


def source_path(name: str) -> Path:
    """Return the path of a name of the form FILE.py:FUNCTION."""
    return Path(with_default_function(name).rpartition(":")[0])


def with_default_function(name: str) -> str:
    """Return FILE.py:FUNCTION with the function filled in ("make")."""
    return f"{name}:make" if name.endswith(".py") else name


def file_name(name: str) -> str:
    """Return the one name of what own.py, ./own.py and own.py:make mean; others unchanged."""
    if not is_file(name):
        return name
    place, _, function = with_default_function(name).rpartition(":")
    return f"{Path(place)}:{function}"


def spellings(name: str) -> list[str]:
    """Return what a `file_name` may have been written as, itself first."""
    short = [name.removesuffix(":make")] if is_file(name) and name.endswith(":make") else []
    found = [name, *short]
    dotted = [f"./{text}" for text in found] if is_file(name) and not name.startswith("/") else []
    return [*found, *dotted]


def require_file(field: str, name: str) -> None:
    """Refuse a name of the form FILE.py:FUNCTION whose file is missing.

    Raises:
      ConfigError: there is no such file.
    """
    path = with_default_function(name).rpartition(":")[0]
    if is_file(name) and not Path(path).is_file():
        raise ConfigError(f"{field} = {name!r}: there is no file {path}")


def load(make: str) -> Any:
    """Return what "module:name" or "FILE.py:name" names; a file is executed once per process.

    Raises:
      ConfigError: there is no such name.
    """
    place, _, name = make.rpartition(":")
    module = load_module(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    if not hasattr(module, name):
        raise ConfigError(f"{make}: {place} has no function {name}")
    return getattr(module, name)


def load_module(path: Path) -> ModuleType:
    """Return a file's module; it is executed, unless it was with the same content.

    A file may use JAX as soon as it is executed, so settings that JAX reads before its first
    use are made first.

    Raises:
      ConfigError: there is no such file, or it imports a package that has the name of ours.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    cache_key = path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest()
    if cache_key not in _modules:
        load(BEFORE_USER_CODE)()
        spec = importlib.util.spec_from_file_location(f"jaxmeta_file_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except ImportError as error:
            if clash := own_packages.clash_of(error):
                raise ConfigError(f"{path}: {error}: {clash}") from error
            raise
        _modules[cache_key] = module
    return _modules[cache_key]
