"""What a Run consists of: the sections that its parts declare, and their default values."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxmeta import paper_settings
from jaxmeta.config import recorded_options, registry, user_code
from jaxmeta.config.option_fields import field_names, float_names, legacy_values
from jaxmeta.config.recorded_options import RecordedSection
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

COMMON_SECTIONS = (
    "jaxmeta.config.common_options:TrialOptions",
    "jaxmeta.config.common_options:Evaluation",
)
ENV_SECTION = "env"  # the section of an environment's options
STATIC_SECTIONS = ("trial", "evaluation", ENV_SECTION)  # not traced, floats included

Classes = dict[str, type]
Sections = tuple[tuple[str, Any], ...]


def load_specs(env: str, method: str) -> tuple[registry.EnvSpec, registry.MethodSpec]:
    """Return both specs, with the declarations of makers in files; the files are executed.

    Raises:
      ConfigError: an unknown name, or no such file; then nothing was executed.
    """
    for field, name, find in (
        ("env", env, registry.env_spec),
        ("method", method, registry.method_spec),
    ):
        find(name)
        user_code.require_file(field, name)
    return load_env_spec(env), load_method_spec(method)


def load_env_spec(env: str) -> registry.EnvSpec:
    """Return an environment's spec, with the options that its maker in a file declares."""
    spec = registry.env_spec(env)
    if not user_code.is_file(env):
        return spec
    return spec._replace(options=getattr(user_code.load(spec.make), "options", ""))


def load_method_spec(method: str) -> registry.MethodSpec:
    """Return a method's spec, with the sections and RL algorithms of a maker in a file."""
    spec = registry.method_spec(method)
    if not user_code.is_file(method):
        return spec
    maker = user_code.load(spec.make)
    rl = tuple(getattr(maker, "rl", spec.rl))
    return spec._replace(sections=declared_sections(maker), rl=rl)


def declared_sections(maker: Any) -> tuple[Any, ...]:
    """Return the sections that a method's maker declares, by default those of networks."""
    return tuple(getattr(maker, "sections", registry.NETWORKS))


def section_classes(rl: str, declared: Iterable[Any], options: Any = None) -> Classes:
    """Return the classes of a run's sections by name; `options` are its environment's.

    Each is a class, or "module:Class".

    Raises:
      ConfigError: two sections of one name, or something that is no section.
    """
    trial, evaluation = COMMON_SECTIONS
    found: Classes = {}
    own = [options] if options else []
    for place in (trial, registry.RL_SECTIONS[rl], *declared, evaluation, *own):
        cls = section_class(place)
        if (cls.section == ENV_SECTION) != (place is options):
            raise ConfigError(f'section {cls.section}: an environment\'s options are called "env"')
        if found.setdefault(cls.section, cls) is not cls:
            raise ConfigError(f"section {cls.section}: is there twice, in {safe_repr(cls)} too")
    return found


def section_class(place: Any) -> Any:
    """Return the class that "module:Class" names, or that it is already.

    Raises:
      ConfigError: it is no section.
    """
    cls = user_code.load(place) if isinstance(place, str) else place
    if not isinstance(cls, type) or not isinstance(getattr(cls, "section", None), str):
        raise ConfigError(f"{safe_repr(place)}: must be a class made by @section(...)")
    return cls


def registered_sections() -> Classes:
    """Return the classes of all registered methods, environments and RL algorithms, by name."""
    places = [*COMMON_SECTIONS, *registry.RL_SECTIONS.values()]
    for spec in registry.specs("methods").values():
        places += spec.sections
    for spec in registry.specs("environments").values():
        places += [spec.options] if spec.options else []
    classes = [user_code.load(place) for place in dict.fromkeys(places)]
    return {cls.section: cls for cls in reversed(classes)}


def registered_legacy_values() -> dict[str, Any]:
    """Return the legacy values of all registered sections, by dotted name (see `setting`)."""
    return {
        f"{name}.{field_name}": value
        for name, cls in registered_sections().items()
        for field_name, value in legacy_values(cls).items()
    }


def base_values(env: str, method: str, preset: str) -> dict[str, dict[str, Any]]:
    """Return values by section ("": of the run itself).

    They are the method's, the environment's, those of the papers; later ones override earlier
    ones. Sections that the run does not have are ignored.
    """
    env_spec = registry.recorded_env_spec(env)
    method_spec = registry.recorded_method_spec(method)
    layers: list[Mapping[str, Any]] = [
        method_spec.defaults,
        env_spec.defaults.get("*", {}),
        env_spec.defaults.get(method, {}),
        *paper_settings.rows(preset, [name for name in (env_spec.like, env) if name], method),
    ]
    sections: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, value in layer.items():
            section, _, field_name = name.rpartition(".")
            sections.setdefault(section, {})[field_name] = value
    return sections


def default_sections(declared: Classes, base: Mapping[str, Mapping[str, Any]]) -> Sections:
    """Return the declared sections with their default values."""
    return tuple(
        (name, cls(**{k: v for k, v in base.get(name, {}).items() if k in field_names(cls)}))
        for name, cls in declared.items()
    )


def unresolved_sections(env: str, method: str, rl: str, flat: Mapping[str, Any]) -> Sections:
    """Return the sections of a run whose code is not executed; () where all of it is known.

    Fields in `flat` of undeclared sections are kept verbatim if their names and values are
    well-formed; other fields are left out.
    """
    env = registry.env_name(env)
    foreign_env = registry.is_foreign("environments", env)
    foreign_method = registry.is_foreign("methods", method)
    if not (foreign_env or foreign_method):
        return ()
    env_spec = registry.recorded_env_spec(env)
    method_spec = registry.recorded_method_spec(method)
    declared = section_classes(rl, method_spec.sections, env_spec.options or None)
    found: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        section, field_name = recorded_options.split_name(name) or ("", "")
        foreign = foreign_env if section == ENV_SECTION else foreign_method
        if section and foreign and section not in declared:
            found.setdefault(section, {})[field_name] = recorded_options.validate_value(name, value)
    if sum(map(len, found.values())) > recorded_options.MAX_FIELDS:
        raise ConfigError(
            f"config.json: must have at most {recorded_options.MAX_FIELDS} options of files"
        )
    sections = dict(default_sections(declared, {}))
    sections |= {name: RecordedSection(tuple(values.items())) for name, values in found.items()}
    order = [name.partition(".")[0] for name in flat if "." in name]
    return tuple((name, sections.pop(name)) for name in (*order, *sections) if name in sections)


def resolve_section(name: str, cls: type, section: Any) -> Any:
    """Return a section as an instance of its class, from one that may be a RecordedSection.

    Raises:
      ConfigError: a superfluous field, or a missing one.
    """
    if type(section) is cls:
        return section
    values, names = section_items(section), field_names(cls)
    values = legacy_values(cls) | values
    for field_name in values:
        if field_name not in names:
            raise ConfigError(
                f"{name}.{field_name}: is not a field of {cls.__name__} in the current code"
            )
    for field_name in names:
        if field_name not in values:
            raise ConfigError(
                f"{name}.{field_name}: missing; {cls.__name__} has this field, the run has not"
            )
    return cls(**values)


def section_items(section: Any) -> dict[str, Any]:
    """Return a section's fields and values."""
    if isinstance(section, RecordedSection):
        return section.fields()
    return {name: getattr(section, name) for name in field_names(section)}


def float_fields(section: Any) -> list[str]:
    """Return the names of a section's floats."""
    if isinstance(section, RecordedSection):
        return [name for name, value in section.fields().items() if isinstance(value, float)]
    return float_names(section)
