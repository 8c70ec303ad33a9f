"""Run: the typed, frozen and complete description of one training run.

This module imports no jax: a bad command line is refused in a fraction of a second.
"""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxmeta import paper_settings
from jaxmeta.config import missing_options, recorded_options, registry, resolve, user_code
from jaxmeta.config.data_format import FORMAT, KEY, require_known
from jaxmeta.config.option_fields import (
    check_value,
    checked,
    count,
    field_names,
    frame_count,
    legacy_values,
    setting,
)
from jaxmeta.config.recorded_options import RecordedSection
from jaxmeta.config.untrusted_text import parse_json_object, safe_name, safe_repr
from jaxmeta.errors import ConfigError

MAX_UPDATES = 2**31 - 1  # they are counted in int32
WORKERS = 16  # by default
BASE_FIELDS = ("env", "method", "preset", "rl")  # they select the sections and the defaults


class ReplayBound(NamedTuple):
    """The field that bounds a seed's replay."""

    field: str
    value: int
    unit: int | None  # bytes; None: the field is a number of items


@dataclass(frozen=True)
class Run:
    """One training run with all its options.

    `env`, `method`, `preset` and `rl` select the defaults of all other fields. Besides the
    fields below a run has the sections that its parts declare: those of the trial and the
    evaluation, of the RL algorithm, of the method, and "env", an environment's own options.
    `run.vae.latent` reads one of their fields, `run.get("vae")` is None where there is none, and
    `replace` changes any of them. Run() executes the files that `env` and `method` name.

    Raises:
      ConfigError: names the field, the value and what is allowed.
    """

    env: str = setting("gridworld", "an environment's name, or FILE.py:FUNCTION")
    method: str = setting("ldm", "a method's name, or FILE.py:FUNCTION")
    preset: str = setting(
        "paper",
        "where paper and public code disagree, which to follow",
        choices=paper_settings.PRESETS,
    )
    rl: str = setting(
        None,
        "the RL algorithm",
        choices=tuple(registry.RL_SECTIONS),
        before="a2c",
    )
    frames: int = frame_count(None, "environment steps per seed, over all workers")
    seeds: int = count(1, "number of seeds; they are 0, 1, ... and train together")
    workers: int = count(None, "parallel workers; a multiple of the method's group")
    train_split: str = setting(
        "train", "tasks to train on; oracle: all splits together", choices=("train", "oracle")
    )
    physics: str = setting(
        "auto",
        "engine of simulated robots: C MuJoCo (c), MuJoCo in JAX (mjx, warp), or C where JAX"
        " runs on the CPU and mjx elsewhere (auto)",
        choices=("auto", "c", "mjx", "warp"),
        before="auto",
    )
    log_every: int = frame_count(100_000, "frames between lines of metrics.jsonl")
    sections: resolve.Sections = field(default=())  # by name; empty: the defaults

    def __post_init__(self) -> None:
        """Fill in the defaults and check everything."""
        for name in BASE_FIELDS:
            if name != "rl" or self.rl is not None:
                check_value(self, name)
        self._set("env", registry.env_name(self.env))
        self._set("method", user_code.file_name(self.method))
        if self.sections:
            env = registry.recorded_env_spec(self.env)
            method = registry.recorded_method_spec(self.method)
        else:
            env, method = resolve.load_specs(self.env, self.method)
        if self.rl is None:
            self._set("rl", env.rl if env.rl in method.rl else method.rl[0])
        if self.rl not in method.rl:
            supported = " or ".join(method.rl)
            raise ConfigError(f"rl = {self.rl!r}: {safe_name(self.method)} supports {supported}")
        declared = resolve.section_classes(self.rl, method.sections, env.options or None)
        base = resolve.base_values(self.env, self.method, self.preset)
        if self.sections:
            require_sections(self, declared)
        else:
            self._set("sections", resolve.default_sections(declared, base))
        for name, value in {"workers": WORKERS, "frames": env.frames, **base.get("", {})}.items():
            if getattr(self, name) is None:
                self._set(name, value)
        validate(self)

    def _set(self, name: str, value: Any) -> None:
        """Set a field, while the run is being made."""
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Return a section; Python calls this only for what is no field."""
        for known, section in self.__dict__.get("sections", ()):
            if known == name:
                return section
        raise AttributeError(f"{safe_name(name)}: the run has no such section")

    def get(self, name: str) -> Any:
        """Return a section, or None where the run has none of this name."""
        return dict(self.sections).get(name)

    def section_facts(self, hook: str) -> list[Any]:
        """Return the results of a hook, for the sections that have a method of this name."""
        sections = (s for _, s in self.sections if callable(getattr(type(s), hook, None)))
        return [getattr(section, hook)(self) for section in sections]

    @property
    def uses_foreign_code(self) -> bool:
        """Whether its environment or its method is in a file, or registered elsewhere only."""
        return registry.is_foreign("environments", self.env) or registry.is_foreign(
            "methods", self.method
        )

    @property
    def group(self) -> int:
        """The number of workers whose latents are mixed (1 if the method mixes none)."""
        return next(iter(self.section_facts("group_size")), 1)

    @property
    def real_workers(self) -> int:
        """The number of workers that run in real tasks."""
        return next(iter(self.section_facts("real_workers")), self.workers)

    @property
    def off_policy(self) -> bool:
        """Whether its RL algorithm is off-policy: it learns from a replay buffer."""
        return any(self.section_facts("off_policy"))

    @property
    def replay_bound(self) -> ReplayBound | None:
        """The field that bounds a seed's replay, None without one."""
        return next((bound for bound in self.section_facts("replay_bound") if bound), None)

    def updates(self, horizon: int) -> int:
        """Return the number of updates, `frames` rounded up; an update is one trial per worker.

        Raises:
          ConfigError: fewer frames than one update, or more updates than can be counted.
        """
        per_update = self.frames_per_update(horizon)
        if self.frames < per_update:
            raise ConfigError(
                f"frames = {self.frames}: must be at least one update, {per_update} frames"
                f" ({self.workers} workers x {self.trial.episodes} episodes x {horizon} steps)"
            )
        updates = -(-self.frames // per_update)
        if updates > MAX_UPDATES:
            raise ConfigError(
                f"frames = {self.frames}: must be at most {MAX_UPDATES:,} updates of {per_update}"
                f" frames ({self.workers} workers x {self.trial.episodes} episodes)"
            )
        return updates

    def require_update(self) -> None:
        """Check `frames` early, by the horizon on record of the environment that it names.

        A Run does not: `train` may be given another environment, `replace` other workers.

        Raises:
          ConfigError: as `updates`.
        """
        if horizon := registry.env_spec(self.env).horizon:
            self.updates(horizon)

    def frames_per_update(self, horizon: int) -> int:
        """Return the environment steps of one update, over all workers."""
        return self.workers * self.trial.episodes * horizon

    def replace(self, overrides: dict[str, Any]) -> "Run":
        """Return the run with dotted fields changed: `{"imagination.beta": 1.5}`."""
        for name in overrides:
            if name in BASE_FIELDS:
                raise ConfigError(
                    f"{name}: cannot be replaced; pass it to Run(...), it selects the defaults"
                )
        refuse_unknown(overrides, self)
        for name in ("frames", "workers"):  # Run() would fill them in
            if overrides.get(name, 0) is None:
                raise ConfigError(f"{name} = None: must be a whole number")
        tree: dict[str, Any] = {}
        for name, value in overrides.items():
            section, _, field_name = name.rpartition(".")
            tree.setdefault(section, {})[field_name] = value
        top = tree.pop("", {})
        sections = tuple((name, replace_fields(s, tree.get(name, {}))) for name, s in self.sections)
        return dataclasses.replace(self, **top, sections=sections)

    def with_code(self, env: Any = None, method: Any = None) -> "Run":
        """Return the run with its code's section classes in place of every RecordedSection.

        A run that was read from a folder knows the options of code in files by name and value.
        Their classes are those of the code that is passed (an Env, a method's maker), else of
        the files that the run names, which are executed.

        Raises:
          ConfigError: a section or a field is missing, or has a value that is not allowed.
        """
        return self.with_env_code(env).with_method_code(method)

    def with_env_code(self, env: Any = None) -> "Run":
        """Return the run as `with_code` does, for the environment's options only."""
        if not registry.is_foreign("environments", self.env):
            return self
        if env is None:
            options = resolve.load_env_spec(self.env).options
            return self.with_section_classes([options]) if options else self
        made_with = getattr(env, "options", None)
        return self if made_with is None else self.with_section_classes([type(made_with)])

    def with_method_code(self, method: Any = None) -> "Run":
        """Return the run as `with_code` does, for the method's sections only."""
        if method is None and registry.is_foreign("methods", self.method):
            return self.with_section_classes(resolve.load_method_spec(self.method).sections)
        if hasattr(method, "sections"):
            return self.with_section_classes(method.sections)
        return self

    def with_section_classes(self, places: Iterable[Any]) -> "Run":
        """Return the run with its sections as instances of these classes."""
        classes = {cls.section: cls for cls in map(resolve.section_class, places)}
        for name in classes:
            if self.get(name) is None:
                raise ConfigError(
                    f"{name}: the code of {safe_name(self.method)} on {safe_name(self.env)} reads"
                    " this section, which the run lacks"
                )
        sections = tuple(
            (name, resolve.resolve_section(name, classes.get(name, type(section)), section))
            for name, section in self.sections
        )
        return dataclasses.replace(self, sections=sections)

    def fields(self) -> dict[str, Any]:
        """Return all values under their dotted names."""
        flat = {name: getattr(self, name) for name in field_names(self)}
        for name, section in self.sections:
            flat |= {
                f"{name}.{field_name}": value
                for field_name, value in resolve.section_items(section).items()
            }
        return flat

    def legacy_values(self) -> dict[str, Any]:
        """Return its legacy values by dotted name: those of runs made before fields were added."""
        values = legacy_values(Run)
        for name, section in self.sections:
            added = legacy_values(type(section))
            values |= {f"{name}.{field_name}": value for field_name, value in added.items()}
        return values

    def traced(self) -> list[str]:
        """Return the dotted names of traced numbers, which a sweep varies in one program."""
        return [
            f"{name}.{field_name}"
            for name, section in self.sections
            if name not in resolve.STATIC_SECTIONS
            for field_name in resolve.float_fields(section)
        ]

    def to_json(self) -> str:
        """Return the resolved configuration as JSON, one dotted name per line."""
        return json.dumps({KEY: FORMAT} | self.fields(), indent=1)

    @staticmethod
    def from_json(text: str) -> "Run":
        """Read what `to_json` wrote; the text may be untrusted, and no code is executed.

        Fields added after the run was made get the value that it implicitly had. Sections of
        code in a file, or of names that are not registered here, become RecordedSections (see
        `with_code`).

        Raises:
          ConfigError: no JSON object, of a later format, or unknown, missing, repeated or bad
            fields.
        """
        flat = parse_json_object(text, "config.json")
        require_known(flat.pop(KEY, None), "config.json")
        legacy = legacy_values(Run)
        flat = {name: legacy[name] for name in legacy if name in BASE_FIELDS} | flat
        refuse_missing(BASE_FIELDS, flat)
        base = {name: checked(Run, name, flat[name]) for name in BASE_FIELDS}
        run = Run(
            **base,
            sections=resolve.unresolved_sections(base["env"], base["method"], base["rl"], flat),
        )
        refuse_unknown(flat, run)
        flat = run.legacy_values() | flat
        refuse_missing(run.fields(), flat)
        return run.replace({name: flat[name] for name in flat if name not in BASE_FIELDS})


def replace_fields(section: Any, values: dict[str, Any]) -> Any:
    """Return a section with some fields replaced."""
    if isinstance(section, RecordedSection):
        return section.replace(values)
    return dataclasses.replace(section, **values) if values else section


def refuse_unknown(names: Iterable[str], run: Run) -> None:
    """Refuse dotted names that this run does not have, and say who has them.

    Raises:
      ConfigError: names the first of them.
    """
    known = run.fields()
    for name in names:
        if name not in known:
            where = f"{safe_name(run.method)} on {safe_name(run.env)}"
            advice = missing_options.advice(name, run)
            raise ConfigError(f"{safe_name(name)}: {where} has no such field; {advice}")


def refuse_missing(names: Iterable[str], given: dict[str, Any]) -> None:
    """Refuse a config.json without these fields: their values would change with the defaults.

    Raises:
      ConfigError: names the first of them.
    """
    missing = [name for name in names if name not in given]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(f"{', '.join(missing[:3])}{more}: missing; config.json holds every field")


def require_sections(run: Run, declared: resolve.Classes) -> None:
    """Refuse sections other than those that the run's parts declare.

    Where code is in files that were not executed, or elsewhere, further sections may be theirs.

    Raises:
      ConfigError: names the first.
    """
    for name, cls in declared.items():
        if not isinstance(run.get(name), cls):
            raise ConfigError(f"{name} = {safe_repr(run.get(name))}: must be a {cls.__name__}")
    for name, _ in run.sections:
        if name not in declared and not run.uses_foreign_code:
            raise ConfigError(f"{name}: {run.method} with {run.rl} has no such section")


def validate(run: Run) -> None:
    """Check every field alone, then their consistency.

    Raises:
      ConfigError: see `Run`.
    """
    for name in field_names(run):
        check_value(run, name)
    for name, section in run.sections:
        if hasattr(Run, name) and name != resolve.ENV_SECTION:
            raise ConfigError(f"section {name}: is a reserved name; choose another")
        for field_name, value in resolve.section_items(section).items():
            if isinstance(section, RecordedSection):
                recorded_options.validate_value(f"{name}.{field_name}", value)
            else:
                check_value(section, field_name, f"{name}.")
    if run.physics != "auto" and not registry.recorded_env_spec(run.env).simulated:
        raise ConfigError(f"physics = {run.physics!r}: must be auto; {run.env} simulates no robot")
    run.section_facts("check")
