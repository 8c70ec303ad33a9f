"""What a Run consists of: the sections that its parts declare, and the values they begin with."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxmeta import papers
from jaxmeta.config import recorded_options, registry, user_code
from jaxmeta.config.fields import before, field_names, float_names
from jaxmeta.config.recorded_options import Recorded
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

COMMON = ("jaxmeta.config.options:TrialOptions", "jaxmeta.config.options:Evaluation")
ENV = "env"  # the section of an environment's options
UNTRACED = ("trial", "evaluation", ENV)  # what is structure, floats included

Classes = dict[str, type]
Sections = tuple[tuple[str, Any], ...]


def executed(env: str, method: str) -> tuple[registry.EnvSpec, registry.MethodSpec]:
    """Return both specs, with what makers in files declare; the files are executed.

    Raises:
      ConfigError: an unknown name, or no such file; nothing was executed.
    """
    for field, name, find in (
        ("env", env, registry.env_spec),
        ("method", method, registry.method_spec),
    ):
        find(name)
        user_code.require_file(field, name)
    return executed_env(env), executed_method(method)


def executed_env(env: str) -> registry.EnvSpec:
    """Return an environment's spec, with the options that its maker in a file declares."""
    spec = registry.env_spec(env)
    if not user_code.is_file(env):
        return spec
    user_code.require_file("env", env)
    return spec._replace(options=getattr(user_code.load(spec.make), "options", ""))


def executed_method(method: str) -> registry.MethodSpec:
    """Return a method's spec, with the sections and ways that its maker in a file declares."""
    spec = registry.method_spec(method)
    if not user_code.is_file(method):
        return spec
    user_code.require_file("method", method)
    maker = user_code.load(spec.make)
    ways = tuple(getattr(maker, "rl", spec.rl))
    return spec._replace(sections=declared_by(maker), rl=ways)


def method_not_executed(method: str) -> registry.MethodSpec:
    """Return a method's spec as far as it is known without executing a file."""
    spec = registry.method_spec(method)
    return spec._replace(sections=()) if user_code.is_file(method) else spec


def declared_by(maker: Any) -> tuple[Any, ...]:
    """Return the sections that a method's maker names: those of networks if it names none."""
    return tuple(getattr(maker, "sections", registry.NETWORKS))


def gathered(rl: str, declared: Iterable[Any], options: Any = None) -> Classes:
    """Return the classes of a run's sections by name; `options` are its environment's.

    Each is a class, or "module:Class".

    Raises:
      ConfigError: two sections of one name, or something that is none.
    """
    trial, evaluation = COMMON
    found: Classes = {}
    for place in (trial, registry.WAYS[rl], *declared, evaluation, *([options] if options else [])):
        owner = section_class(place)
        if (owner.section == ENV) != (place is options):
            raise ConfigError(
                f'section {owner.section}: an environment\'s options are called "env"'
            )
        if found.setdefault(owner.section, owner) is not owner:
            raise ConfigError(f"section {owner.section}: is there twice, in {safe_repr(owner)} too")
    return found


def section_class(place: Any) -> Any:
    """Return the class that "module:Class" names, or that it is already.

    Raises:
      ConfigError: it is no section.
    """
    owner = user_code.load(place) if isinstance(place, str) else place
    if not isinstance(owner, type) or not isinstance(getattr(owner, "section", None), str):
        raise ConfigError(f"{safe_repr(place)}: must be a class made by @section(...)")
    return owner


def registered_sections() -> Classes:
    """Return the classes of all registered methods, environments and ways; of one name, one."""
    places = [*COMMON, *registry.WAYS.values()]
    for spec in registry.specs("methods").values():
        places += spec.sections
    for spec in registry.specs("environments").values():
        places += [spec.options] if spec.options else []
    owners = [user_code.load(place) for place in dict.fromkeys(places)]
    return {owner.section: owner for owner in reversed(owners)}


def values_before() -> dict[str, Any]:
    """Return, by dotted name, what runs did before a field of a registered section was added."""
    return {
        f"{name}.{leaf}": value
        for name, owner in registered_sections().items()
        for leaf, value in before(owner).items()
    }


def base_values(env: str, method: str, preset: str) -> dict[str, dict[str, Any]]:
    """Return values by section ("": of the run itself).

    They are the method's, the environment's, those of the papers; the last one counts. Names of
    sections that the run does not have are for others.
    """
    env_spec, method_spec = registry.env_spec(env), registry.method_spec(method)
    layers: list[Mapping[str, Any]] = [
        method_spec.defaults,
        env_spec.defaults.get("*", {}),
        env_spec.defaults.get(method, {}),
        *papers.rows(preset, [name for name in (env_spec.like, env) if name], method),
    ]
    sections: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, value in layer.items():
            section, _, leaf = name.rpartition(".")
            sections.setdefault(section, {})[leaf] = value
    return sections


def filled(declared: Classes, base: Mapping[str, Mapping[str, Any]]) -> Sections:
    """Return the declared sections with the values that they begin with."""
    return tuple(
        (name, owner(**{k: v for k, v in base.get(name, {}).items() if k in field_names(owner)}))
        for name, owner in declared.items()
    )


def on_record(env: str, method: str, rl: str, flat: Mapping[str, Any]) -> Sections:
    """Return the sections of a run whose files are not executed; () without such files.

    Fields in `flat` of sections that nobody declares are kept as they are, if they are names
    and values such as options have; what is neither stays unknown.
    """
    of_env, of_method = user_code.is_file(env), user_code.is_file(method)
    if not (of_env or of_method):
        return ()
    env_spec, method_spec = registry.env_spec(registry.env_name(env)), method_not_executed(method)
    declared = gathered(rl, method_spec.sections, env_spec.options or None)
    found: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        section, leaf = recorded_options.split(name) or ("", "")
        foreign = of_env if section == ENV else of_method
        if section and foreign and section not in declared:
            found.setdefault(section, {})[leaf] = recorded_options.accepted(name, value)
    if sum(map(len, found.values())) > recorded_options.MOST_FIELDS:
        raise ConfigError(
            f"config.json: must have at most {recorded_options.MOST_FIELDS} options of files"
        )
    sections = dict(filled(declared, {}))
    sections |= {name: Recorded(tuple(values.items())) for name, values in found.items()}
    order = [name.partition(".")[0] for name in flat if "." in name]
    return tuple((name, sections.pop(name)) for name in (*order, *sections) if name in sections)


def believed(name: str, owner: type, section: Any) -> Any:
    """Return a section as its class has it, from values that may only be on record.

    Raises:
      ConfigError: a field too many, or too few.
    """
    if type(section) is owner:
        return section
    values, names = items(section), field_names(owner)
    values = before(owner) | values
    for leaf in values:
        if leaf not in names:
            raise ConfigError(f"{name}.{leaf}: is no field of {owner.__name__}, as the code has it")
    for leaf in names:
        if leaf not in values:
            raise ConfigError(f"{name}.{leaf}: missing; {owner.__name__} has it now, the run not")
    return owner(**values)


def items(section: Any) -> dict[str, Any]:
    """Return a section's fields and values."""
    if isinstance(section, Recorded):
        return section.fields()
    return {name: getattr(section, name) for name in field_names(section)}


def floats(section: Any) -> list[str]:
    """Return the names of a section's floats."""
    if isinstance(section, Recorded):
        return [name for name, value in section.fields().items() if isinstance(value, float)]
    return float_names(section)
