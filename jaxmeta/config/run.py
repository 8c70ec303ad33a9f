"""Run: the typed, frozen and complete description of one training run.

This module imports no jax: a bad command line is refused in a fraction of a second.
"""

import dataclasses
import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxmeta import papers
from jaxmeta.config import recorded_options, registry, resolve, user_code
from jaxmeta.config.fields import (
    before,
    check_value,
    checked,
    count,
    field_names,
    frame_count,
    setting,
)
from jaxmeta.config.recorded_options import Recorded
from jaxmeta.config.untrusted_text import read_object, safe_name, safe_repr
from jaxmeta.errors import ConfigError

MOST_UPDATES = 2**31 - 1  # they are counted in int32
WORKERS = 16  # unless environment or method ask for others
BASE = ("env", "method", "preset", "rl")  # what decides the sections and every value left out


class ReplayBound(NamedTuple):
    """The field that bounds a seed's replay."""

    field: str
    value: int
    unit: int | None  # bytes of one; None: the replay holds as many items as the field says


@dataclass(frozen=True)
class Run:
    """One training run, all numbers filled in.

    `env`, `method`, `preset` and `rl` choose the base; fields left out keep its values. Beside
    the fields below a run has the sections that its parts declare: those of the trial and the
    evaluation, of the way to learn, of the method, and "env", an environment's own options.
    `run.vae.latent` reads one of their fields, `run.get("vae")` is None where there is none, and
    `replace` changes any of them. A file that a run made by hand names is executed for them.

    Raises:
      ConfigError: names the field, the value and what is allowed.
    """

    env: str = setting("gridworld", "an environment's name, or FILE.py:FUNCTION")
    method: str = setting("ldm", "a method's name, or FILE.py:FUNCTION")
    preset: str = setting(
        "paper",
        "where paper and public code disagree, which to follow",
        choices=papers.PRESETS,
    )
    rl: str = setting(
        None,
        "how the policy learns; by default what suits env",
        choices=tuple(registry.WAYS),
        before="a2c",
    )
    frames: int = frame_count(None, "environment steps per seed, over all workers")
    seeds: int = count(1, "how many; they are 0, 1, ... and train together")
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
    sections: resolve.Sections = field(default=())  # by name; empty: to be filled in

    def __post_init__(self) -> None:
        """Fill in the base's values and check everything."""
        for name in BASE:
            if name != "rl" or self.rl is not None:
                check_value(self, name)
        self.fill("env", registry.env_name(self.env))
        if self.sections:
            env, method = registry.env_spec(self.env), resolve.method_not_executed(self.method)
        else:
            env, method = resolve.executed(self.env, self.method)
        if self.rl is None:
            self.fill("rl", env.rl if env.rl in method.rl else method.rl[0])
        if self.rl not in method.rl:
            ways = " or ".join(method.rl)
            raise ConfigError(f"rl = {self.rl!r}: {safe_name(self.method)} learns by {ways}")
        declared = resolve.gathered(self.rl, method.sections, env.options or None)
        base = resolve.base_values(self.env, self.method, self.preset)
        if self.sections:
            require_sections(self, declared)
        else:
            self.fill("sections", resolve.filled(declared, base))
        for name, value in {"workers": WORKERS, "frames": env.frames, **base.get("", {})}.items():
            if getattr(self, name) is None:
                self.fill(name, value)
        validate(self)
        if env.horizon:
            self.updates(env.horizon)

    def fill(self, name: str, value: Any) -> None:
        """Give a field its value, while the run is being made."""
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Return a section; this is asked only for what is no field."""
        for known, section in self.__dict__.get("sections", ()):
            if known == name:
                return section
        raise AttributeError(f"{safe_name(name)}: the run has no such section")

    def get(self, name: str) -> Any:
        """Return a section, or None where the run has none of this name."""
        return dict(self.sections).get(name)

    def told(self, fact: str) -> list[Any]:
        """Return what the sections say that have a say in something: a method of this name."""
        having = (s for _, s in self.sections if callable(getattr(type(s), fact, None)))
        return [getattr(section, fact)(self) for section in having]

    @property
    def names_files(self) -> bool:
        """Whether its environment or its method is code in a file, which Run() executes."""
        return user_code.is_file(self.env) or user_code.is_file(self.method)

    @property
    def group(self) -> int:
        """The number of workers that mix with each other (1 if the method does not)."""
        return next(iter(self.told("group_size")), 1)

    @property
    def real_workers(self) -> int:
        """The number of workers that live in real tasks."""
        return next(iter(self.told("real_workers")), self.workers)

    @property
    def off_policy(self) -> bool:
        """Whether its way to learn reads a replay, and not workers' trials as they come."""
        return any(self.told("off_policy"))

    @property
    def replay_bound(self) -> ReplayBound | None:
        """What bounds a seed's replay, None without one."""
        return next((bound for bound in self.told("replay_bound") if bound), None)

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
        if updates > MOST_UPDATES:
            raise ConfigError(
                f"frames = {self.frames}: must be at most {MOST_UPDATES:,} updates of {per_update}"
                f" frames ({self.workers} workers x {self.trial.episodes} episodes)"
            )
        return updates

    def frames_per_update(self, horizon: int) -> int:
        """Return the environment steps of one update, over all workers."""
        return self.workers * self.trial.episodes * horizon

    def replace(self, overrides: dict[str, Any]) -> "Run":
        """Return the run with dotted fields changed: `{"imagination.beta": 1.5}`."""
        for name in overrides:
            if name in BASE:
                raise ConfigError(f"{name}: choose it when the Run is made; it decides the base")
        refuse_unknown(overrides, self)
        for name in ("frames", "workers"):  # what Run() would fill in
            if overrides.get(name, 0) is None:
                raise ConfigError(f"{name} = None: must be a whole number")
        tree: dict[str, Any] = {}
        for name, value in overrides.items():
            section, _, leaf = name.rpartition(".")
            tree.setdefault(section, {})[leaf] = value
        top = tree.pop("", {})
        sections = tuple((name, changed(s, tree.get(name, {}))) for name, s in self.sections)
        return dataclasses.replace(self, **top, sections=sections)

    def with_code(self, env: Any = None, method: Any = None) -> "Run":
        """Return the run with its code's sections in place of those that are only on record.

        A run that was read from a folder knows the options of code in files by name and value;
        here the code says what they are: what is handed over (an Env, a method's maker), else
        what the run's names find, which executes files.

        Raises:
          ConfigError: a section or a field is missing, or may not be what it is.
        """
        return self.with_env_code(env).with_method_code(method)

    def with_env_code(self, env: Any = None) -> "Run":
        """Do what `with_code` does, for the environment's options."""
        if not user_code.is_file(self.env):
            return self
        if env is None:
            options = resolve.executed_env(self.env).options
            return self.with_classes([options]) if options else self
        made_with = getattr(env, "options", None)
        return self if made_with is None else self.with_classes([type(made_with)])

    def with_method_code(self, method: Any = None) -> "Run":
        """Do what `with_code` does, for the method's sections."""
        if method is None and user_code.is_file(self.method):
            return self.with_classes(resolve.executed_method(self.method).sections)
        if hasattr(method, "sections"):
            return self.with_classes(method.sections)
        return self

    def with_classes(self, places: Iterable[Any]) -> "Run":
        """Return the run whose sections of these names are of these classes."""
        owners = {owner.section: owner for owner in map(resolve.section_class, places)}
        for name in owners:
            if self.get(name) is None:
                raise ConfigError(
                    f"{name}: the code of {safe_name(self.method)} on {safe_name(self.env)} reads"
                    " this section, which the run lacks"
                )
        sections = tuple(
            (name, resolve.believed(name, owners.get(name, type(section)), section))
            for name, section in self.sections
        )
        return dataclasses.replace(self, sections=sections)

    def fields(self) -> dict[str, Any]:
        """Return all values under their dotted names."""
        flat = {name: getattr(self, name) for name in field_names(self)}
        for name, section in self.sections:
            flat |= {f"{name}.{leaf}": value for leaf, value in resolve.items(section).items()}
        return flat

    def younger(self) -> dict[str, Any]:
        """Return, by dotted name, what runs did before some of the fields were added."""
        told = before(Run)
        for name, section in self.sections:
            told |= {f"{name}.{leaf}": value for leaf, value in before(type(section)).items()}
        return told

    def traced(self) -> list[str]:
        """Return the dotted names of numbers in the compiled step, which a sweep varies in one."""
        return [
            f"{name}.{leaf}"
            for name, section in self.sections
            if name not in resolve.UNTRACED
            for leaf in resolve.floats(section)
        ]

    def to_json(self) -> str:
        """Return the resolved configuration as JSON, one dotted name per line."""
        return json.dumps(self.fields(), indent=1)

    @staticmethod
    def from_json(text: str) -> "Run":
        """Read what `to_json` wrote; the text may come from a stranger, and executes nothing.

        Fields that are younger than the run have the value that it was made with. Sections of
        code in a file are kept as they are on record (see `with_code`).

        Raises:
          ConfigError: no JSON object, or unknown, missing, repeated or bad fields.
        """
        flat = read_object(text, "config.json")
        flat = {name: value for name, value in before(Run).items() if name in BASE} | flat
        refuse_missing(BASE, flat)
        base = {name: checked(Run, name, flat[name]) for name in BASE}
        run = Run(**base, sections=resolve.on_record(base["env"], base["method"], base["rl"], flat))
        refuse_unknown(flat, run)
        flat = run.younger() | flat
        refuse_missing(run.fields(), flat)
        return run.replace({name: flat[name] for name in flat if name not in BASE})


def changed(section: Any, values: dict[str, Any]) -> Any:
    """Return a section with some values changed."""
    if isinstance(section, Recorded):
        return section.replace(values)
    return dataclasses.replace(section, **values) if values else section


def refuse_unknown(names: Iterable[str], run: Run) -> None:
    """Refuse dotted names that this run does not have, with the nearest that it has.

    Raises:
      ConfigError: names the first of them.
    """
    known = run.fields()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(safe_name(name), known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"fields are {', '.join(known)}"
            where = f"{safe_name(run.method)} on {safe_name(run.env)}"
            raise ConfigError(f"{safe_name(name)}: {where} has no such field; {hint}")


def refuse_missing(names: Iterable[str], given: dict[str, Any]) -> None:
    """Refuse a config.json without these fields: what is left out would change with defaults.

    Raises:
      ConfigError: names the first of them.
    """
    missing = [name for name in names if name not in given]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(f"{', '.join(missing[:3])}{more}: missing; config.json holds every field")


def require_sections(run: Run, declared: resolve.Classes) -> None:
    """Refuse sections that are not those which the run's parts declare.

    Where code is in files that were not executed, any others may be theirs.

    Raises:
      ConfigError: names the first.
    """
    for name, owner in declared.items():
        if not isinstance(run.get(name), owner):
            raise ConfigError(f"{name} = {safe_repr(run.get(name))}: must be a {owner.__name__}")
    for name, _ in run.sections:
        if name not in declared and not run.names_files:
            raise ConfigError(f"{name}: {run.method} with {run.rl} has no such section")


def validate(run: Run) -> None:
    """Check every field alone, then what fields demand of each other.

    Raises:
      ConfigError: see `Run`.
    """
    for name in field_names(run):
        check_value(run, name)
    for name, section in run.sections:
        if hasattr(Run, name) and name != resolve.ENV:
            raise ConfigError(f"section {name}: is what every run has; choose another name")
        for leaf, value in resolve.items(section).items():
            if isinstance(section, Recorded):
                recorded_options.accepted(f"{name}.{leaf}", value)
            else:
                check_value(section, leaf, f"{name}.")
    if run.physics != "auto" and not registry.env_spec(run.env).simulated:
        raise ConfigError(f"physics = {run.physics!r}: must be auto; {run.env} simulates no robot")
    run.told("check")
