"""Environments and methods by name, without importing them.

Built-ins and third parties are found through the entry-point groups `jaxmeta.environments`
and `jaxmeta.methods`: each entry is a dict of name -> spec, in a module that imports no
jax. A name of the form FILE.py:FUNCTION is loaded from that file when it is used.
"""

import difflib
import functools
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxmeta.config import own_packages
from jaxmeta.config.user_code import file_name, is_file, with_default_function
from jaxmeta.errors import ConfigError

EMPTY: Mapping[str, Any] = MappingProxyType({})
ELSEWHERE = re.compile(r"[A-Za-z0-9][\w./+-]*")  # names that a config.json may hold
OURS = ("jaxmeta", "envs", own_packages.ALIAS)  # the packages of what is built in
NETWORKS = ("jaxmeta.nn.options:Networks",)
# RL algorithms, and the options section of each; a run has one of them.
RL_SECTIONS = {
    "a2c": "jaxmeta.rl.options:A2C",
    "ppo": "jaxmeta.rl.options:PPO",
    "sac": "jaxmeta.rl.options:SAC",
}


class EnvSpec(NamedTuple):
    """An environment: where its maker is, and its defaults for a Run.

    Attributes:
      make: "module:function" that returns an Env.
      about: one line for lists.
      horizon: steps of an episode, so that budgets are checked early; 0: unknown here.
      frames: default budget, steps per seed over all workers.
      defaults: dotted fields, or "workers" and "frames", by method name, or by "*" for all.
      version: incremented whenever a number that it produces changes.
      simulated: whether its maker takes the physics engine (`Run.physics`).
      rl: its default RL algorithm, "a2c" or "ppo".
      aliases: its names in papers; a Run holds the registered name.
      options: "module:Class" of its own options, the section "env", an argument of the maker.
      like: the environment whose rows in `jaxmeta.paper_settings` apply to it as well.
    """

    make: str
    about: str
    horizon: int = 0
    frames: int = 10_000_000
    defaults: Mapping[str, Mapping[str, Any]] = EMPTY
    version: int = 1
    rl: str = "a2c"
    simulated: bool = False
    aliases: tuple[str, ...] = ()
    options: str = ""
    like: str = ""


class MethodSpec(NamedTuple):
    """A method: where it is built, and the sections and defaults of its Runs.

    Attributes:
      name: as users write it.
      make: "module:function" that takes (env, run) and returns an Algorithm.
      about: one line for lists.
      sections: "module:Class" of each section of a Run that it reads, besides those of the RL
        algorithm, of the trial and of its evaluation.
      defaults: dotted fields, or "workers" and "frames".
      rl: the RL algorithms that it supports; the first is used where the environment's default
        is not among them.
    """

    name: str
    make: str
    about: str
    sections: tuple[str, ...] = NETWORKS
    defaults: Mapping[str, Any] = EMPTY
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
    return entry_point_specs(kind) | _registered[kind]


@functools.cache
def entry_point_specs(kind: str) -> dict[str, Any]:
    """Return the specs of all installed packages."""
    found: dict[str, Any] = {}
    for entry in entry_points(group=f"jaxmeta.{kind}"):
        for name, spec in load_entry(entry).items():
            if found.setdefault(name, spec) is not spec:
                raise ConfigError(f"{kind}: {name} is registered twice (by {entry.value} too)")
    return found


def origin(kind: str, name: str) -> str:
    """Return where the code of a name is from.

    "file", "registered" in this process, "installed" (an entry point of another package),
    "built-in", or "unknown": registered elsewhere, if at all.
    """
    if is_file(name):
        return "file"
    if name in _registered[kind]:
        return "registered"
    spec = entry_point_specs(kind).get(name)
    if spec is None:
        return "unknown"
    return "built-in" if spec.make.partition(".")[0] in OURS else "installed"


def is_foreign(kind: str, name: str) -> bool:
    """Whether a name's code is in a file, or registered in another process only."""
    return is_file(name) or is_registered_elsewhere(kind, name)


def require_known_elsewhere(kind: str, field: str, name: str) -> None:
    """Refuse a name that was registered in this process, where another one has to find it.

    Raises:
      ConfigError: says what can be found.
    """
    if origin(kind, name) == "registered":
        raise ConfigError(
            f"{field} = {name!r}: is registered in this process only, where others cannot find it;"
            " name its code as FILE.py:FUNCTION, or register it by an entry point"
        )


def load_entry(entry: EntryPoint) -> Mapping[str, Any]:
    """Return what an installed package lists; ours is found where others hide its name."""
    if entry.module in own_packages.NAMES and entry.dist and entry.dist.name == "jaxmeta":
        return getattr(own_packages.import_own(entry.module), entry.attr)
    return entry.load()


def env_version(name: str) -> int | None:
    """Return an environment's version, None where it is from a file, or not registered here."""
    return None if is_foreign("environments", name) else env_spec(name).version


def env_name(name: str) -> str:
    """Return an environment's one name: the registered one of an alias, or a file's."""
    known = specs("environments")
    found = [other for other, spec in known.items() if name in spec.aliases and name not in known]
    return found[0] if found else file_name(name)


def env_spec(name: str) -> EnvSpec:
    """Return an environment's spec; one from a file has the general defaults.

    Raises:
      ConfigError: an unknown name.
    """
    if is_file(name):
        return EnvSpec(make=with_default_function(name), about="from a file")
    return _find("environments", "env", name)


def method_spec(name: str) -> MethodSpec:
    """Return a method's spec, for one from a file without what its maker declares.

    Raises:
      ConfigError: an unknown name.
    """
    if is_file(name):
        return MethodSpec(name, with_default_function(name), "from a file", rl=tuple(RL_SECTIONS))
    return _find("methods", "method", name)


def recorded_env_spec(name: str) -> EnvSpec:
    """Return the spec of a recorded run's environment, a general one if it is not known here.

    Raises:
      ConfigError: no environment could have that name.
    """
    if is_registered_elsewhere("environments", name):
        return EnvSpec("", "registered elsewhere", simulated=True)  # it may be
    return env_spec(name)


def recorded_method_spec(name: str) -> MethodSpec:
    """Return the spec of a recorded run's method, as far as it is known without executing code.

    Raises:
      ConfigError: no method could have that name.
    """
    if is_registered_elsewhere("methods", name):
        return MethodSpec(name, "", "registered elsewhere", (), rl=tuple(RL_SECTIONS))
    spec = method_spec(name)
    return spec._replace(sections=()) if is_file(name) else spec


def is_registered_elsewhere(kind: str, name: str) -> bool:
    """Whether another process may have registered a name that is not known here."""
    return origin(kind, name) == "unknown" and ELSEWHERE.fullmatch(name) is not None


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
