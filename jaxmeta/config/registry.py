"""Environments and methods by name, without importing them.

Built-ins and third parties are found through the entry-point groups `jaxmeta.environments`
and `jaxmeta.methods`: each entry is a dict of name -> spec, in a module that imports no
jax. A name of the form FILE.py:FUNCTION is loaded from that file when it is made.
"""

import difflib
import functools
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxmeta.config.user_code import is_file, with_function
from jaxmeta.errors import ConfigError

NOTHING: Mapping[str, Any] = MappingProxyType({})
NETWORKS = ("jaxmeta.nn.options:Networks",)
# How policies may learn, and the section of each way, of which a run has one.
WAYS = {
    "a2c": "jaxmeta.rl.options:A2C",
    "ppo": "jaxmeta.rl.options:PPO",
    "sac": "jaxmeta.rl.options:SAC",
}


class EnvSpec(NamedTuple):
    """An environment: where its maker is, and what it changes in a Run.

    Attributes:
      make: "module:function" that returns an Env.
      about: one line for lists.
      horizon: steps of an episode, so that budgets are checked early; 0: not known here.
      frames: default budget, steps per seed over all workers.
      defaults: dotted fields, or "workers" and "frames", by method name, or by "*" for all.
      version: raised whenever a number that it produces changes.
      simulated: whether its maker takes the physics engine (`Run.physics`).
      rl: how policies learn in it, unless a run says otherwise: "a2c" or "ppo".
      aliases: what papers call it; a run has its own name.
      options: "module:Class" of its own options, the section "env"; the maker takes them, too.
      like: the environment whose rows in `jaxmeta.papers` hold for it as well.
    """

    make: str
    about: str
    horizon: int = 0
    frames: int = 10_000_000
    defaults: Mapping[str, Mapping[str, Any]] = NOTHING
    version: int = 1
    rl: str = "a2c"
    simulated: bool = False
    aliases: tuple[str, ...] = ()
    options: str = ""
    like: str = ""


class MethodSpec(NamedTuple):
    """A method: where it is built, and what a Run of it has.

    Attributes:
      name: how users call it.
      make: "module:function" that takes (env, run) and returns an Algorithm.
      about: one line for lists.
      sections: "module:Class" of each section of a Run that it reads, beside those of the way
        to learn, of the trial and of its evaluation.
      defaults: dotted fields, or "workers" and "frames".
      rl: how its policy may learn; the first where the environment's way is not among them.
    """

    name: str
    make: str
    about: str
    sections: tuple[str, ...] = NETWORKS
    defaults: Mapping[str, Any] = NOTHING
    rl: tuple[str, ...] = ("a2c", "ppo")


_registered: dict[str, dict[str, Any]] = {"environments": {}, "methods": {}}


def register_env(name: str, spec: EnvSpec) -> None:
    """Add an environment under a new name.

    Raises:
      ConfigError: the name is taken.
    """
    _register("environments", name, spec)


def register_method(spec: MethodSpec) -> None:
    """Add a method under a new name.

    Raises:
      ConfigError: the name is taken.
    """
    _register("methods", spec.name, spec)


def _register(kind: str, name: str, spec: Any) -> None:
    if name in specs(kind):
        raise ConfigError(f"{kind}: {name} is registered already")
    _registered[kind][name] = spec


def specs(kind: str) -> dict[str, Any]:
    """Return all specs of a kind, "environments" or "methods", by name.

    Raises:
      ConfigError: two entry points claim one name.
    """
    return installed(kind) | _registered[kind]


@functools.cache
def installed(kind: str) -> dict[str, Any]:
    """Return the specs of all packages."""
    found: dict[str, Any] = {}
    for entry in entry_points(group=f"jaxmeta.{kind}"):
        for name, spec in entry.load().items():
            if found.setdefault(name, spec) is not spec:
                raise ConfigError(f"{kind}: {name} is registered twice (by {entry.value} too)")
    return found


def env_version(name: str) -> int | None:
    """Return an environment's version, None where it is from a file."""
    return None if is_file(name) else env_spec(name).version


def env_name(name: str) -> str:
    """Return the name of the environment that an alias means; others as they are."""
    known = specs("environments")
    own = [own for own, spec in known.items() if name in spec.aliases and name not in known]
    return own[0] if own else name


def env_spec(name: str) -> EnvSpec:
    """Return an environment's spec; one from a file has the general defaults.

    Raises:
      ConfigError: an unknown name.
    """
    if is_file(name):
        return EnvSpec(make=with_function(name), about="from a file")
    return _find("environments", "env", name)


def method_spec(name: str) -> MethodSpec:
    """Return a method's spec; what one from a file declares, its maker says (see `resolve`).

    Raises:
      ConfigError: an unknown name.
    """
    if is_file(name):
        return MethodSpec(name, with_function(name), "from a file", rl=tuple(WAYS))
    return _find("methods", "method", name)


def _find(kind: str, field: str, name: str) -> Any:
    known = specs(kind)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(
            f"{field} = {name!r}: must be one of {', '.join(sorted(known))},"
            f" or FILE.py:FUNCTION{hint}"
        )
    return known[name]
