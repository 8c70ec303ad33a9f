"""The packages beside this one: `envs` and `experiments` are names that others use, too.

A folder or a file of that name beside a user's script hides ours from `import`. So they are found
by their place, next to `jaxmeta`.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from jaxmeta.errors import ConfigError

NAMES = ("envs", "experiments")
FOLDER = Path(__file__).resolve().parents[2]  # the checkout, or where a wheel is installed
ALIAS = "jaxmeta_own"  # the package that ours are in where others have their names


def import_own(name: str) -> ModuleType:
    """Return our package of a name, which may be another one's to the user's code.

    Then ours is `jaxmeta_own.NAME`, and neither gets the other's modules.
    """
    if ALIAS not in sys.modules:
        if is_own(name, file_of(name)):
            return importlib.import_module(name)
        holder = ModuleType(ALIAS)
        holder.__path__ = [str(FOLDER)]
        sys.modules[ALIAS] = holder
    return importlib.import_module(f"{ALIAS}.{name}")


class FindBeside(MetaPathFinder):
    """Finds our packages by their place."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a package of ours is, None for all others."""
        return PathFinder.find_spec(name, [str(FOLDER)]) if name in NAMES else None


FIND_BESIDE = FindBeside()


def claim_names() -> None:
    """Let both names mean our packages in this process, which is the command line's.

    Raises:
      ConfigError: another package of such a name was imported already.
    """
    for name in NAMES:
        if name in sys.modules and not is_own(name, file_of(name)):
            raise ConfigError(
                f"{name} = {file_of(name)}: hides jaxmeta's package of that name, which the"
                " command line needs; give yours another name"
            )
    if FIND_BESIDE not in sys.meta_path:
        sys.meta_path.insert(0, FIND_BESIDE)


def clash_of(error: ImportError) -> str | None:
    """Return in words that code wanted another package where ours has the name, None if not."""
    name = (error.name or "").partition(".")[0]
    if name not in NAMES or not is_own(name, file_of(name)):
        return None
    return f"{name} is jaxmeta's package here ({file_of(name)}); give yours another name"


def file_of(name: str) -> str | None:
    """Return the file of the package that `import` gives, None where it is a bare folder."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None)
    spec = importlib.util.find_spec(name)
    return spec.origin if spec else None


def is_own(name: str, file: str | None) -> bool:
    """Whether a package's file is that of ours."""
    return file is not None and Path(file).resolve() == FOLDER / name / "__init__.py"
