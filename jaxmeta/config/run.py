"""Run: the typed, frozen and complete description of one training run.

This module imports no jax: a bad command line is refused in a fraction of a second.
"""

import dataclasses
import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jaxmeta.config import code_files, registry
from jaxmeta.config.fields import check_value, count, field_names, frame_count, setting
from jaxmeta.config.foreign_text import read_object, shown, shown_name
from jaxmeta.config.options import (
    A2C,
    ADDED,
    ADDED_SECTIONS,
    COMMON_SECTIONS,
    PPO,
    PRESETS,
    RL,
    SAC,
    SECTIONS,
    VAE,
    Evaluation,
    Imagination,
    Inference,
    Mixing,
    Networks,
    Replay,
    TrialOptions,
)
from jaxmeta.config.resolve import base_values
from jaxmeta.errors import ConfigError

MOST_UPDATES = 2**31 - 1  # they are counted in int32
WORKERS = 16  # unless environment or method ask for others
BASE = ("env", "method", "preset", "rl")  # what decides the sections and every value left out


@dataclass(frozen=True)
class Run:
    """One training run, all numbers filled in.

    `env`, `method`, `preset` and `rl` choose the base; fields left out keep its values.
    Sections that a run does not have are None.

    Raises:
      ConfigError: names the field, the value and what is allowed.
    """

    env: str = setting("gridworld", "an environment's name, or FILE.py:FUNCTION")
    method: str = setting("ldm", "a method's name, or FILE.py:FUNCTION")
    preset: str = setting(
        "paper",
        "where paper and public code disagree, which to follow",
        choices=tuple(PRESETS),
    )
    rl: str = setting(None, "how the policy learns; by default what suits env", choices=RL)
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
    )
    log_every: int = frame_count(100_000, "frames between lines of metrics.jsonl")
    # Filled in below; typed as what a method that has the section finds.
    trial: TrialOptions = None  # type: ignore[assignment]
    networks: Networks = None  # type: ignore[assignment]
    a2c: A2C = None  # type: ignore[assignment]
    ppo: PPO = None  # type: ignore[assignment]
    vae: VAE = None  # type: ignore[assignment]
    imagination: Imagination = None  # type: ignore[assignment]
    mixing: Mixing = None  # type: ignore[assignment]
    sac: SAC = None  # type: ignore[assignment]
    replay: Replay = None  # type: ignore[assignment]
    inference: Inference = None  # type: ignore[assignment]
    evaluation: Evaluation = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Fill in the base's values and check everything."""
        for name in BASE:
            if name != "rl" or self.rl is not None:
                check_value(self, name)
        object.__setattr__(self, "env", registry.env_name(self.env))
        env, method = registry.env_spec(self.env), registry.method_spec(self.method)
        if self.rl is None:
            object.__setattr__(self, "rl", env.rl if env.rl in method.rl else method.rl[0])
        if self.rl not in method.rl:
            ways = " or ".join(method.rl)
            raise ConfigError(f"rl = {self.rl!r}: {self.method} learns by {ways}")
        base = base_values(env, method, self.preset)
        for name in SECTIONS:
            section = getattr(self, name)
            if name in (*COMMON_SECTIONS, self.rl, *method.sections):
                if section is None:
                    object.__setattr__(self, name, SECTIONS[name](**base.get(name, {})))
                elif not isinstance(section, SECTIONS[name]):
                    kind = SECTIONS[name].__name__
                    raise ConfigError(f"{name} = {shown(section)}: must be a {kind}")
            elif section is not None:
                raise ConfigError(f"{name}: {self.method} with {self.rl} has no such section")
        for name, value in {"workers": WORKERS, "frames": env.frames, **base.get("", {})}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        validate(self)
        if env.horizon:
            self.updates(env.horizon)

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

    @property
    def group(self) -> int:
        """Return the number of workers that mix with each other (1 if the method does not).

        A method from a file has every section, and answers for its groups itself.
        """
        if self.imagination is None or code_files.is_file(self.method):
            return 1
        return self.imagination.normal + self.imagination.mixture

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
        sections = {
            name: dataclasses.replace(getattr(self, name), **values)
            for name, values in tree.items()
        }
        return dataclasses.replace(self, **top, **sections)

    def fields(self) -> dict[str, Any]:
        """Return all values under their dotted names."""
        flat: dict[str, Any] = {}
        for name in field_names(self):
            value = getattr(self, name)
            if name in SECTIONS:
                if value is not None:
                    flat |= {f"{name}.{k}": getattr(value, k) for k in field_names(value)}
            else:
                flat[name] = value
        return flat

    def to_json(self) -> str:
        """Return the resolved configuration as JSON, one dotted name per line."""
        return json.dumps(self.fields(), indent=1)

    @staticmethod
    def from_json(text: str) -> "Run":
        """Read what `to_json` wrote; the text may come from a stranger, and executes nothing.

        Fields that are younger than the run have the value that it was made with.

        Raises:
          ConfigError: no JSON object, or unknown, missing, repeated or bad fields.
        """
        flat = read_object(text, "config.json")
        flat = {name: ADDED[name] for name in BASE if name in ADDED} | flat
        refuse_missing(BASE, flat)
        base = Run(**{name: flat[name] for name in BASE})
        refuse_unknown(flat, base)
        known, younger = base.fields(), dict(ADDED)
        if code_files.is_file(base.method):  # it has every section, the younger ones unread
            younger |= {k: v for k, v in known.items() if k.partition(".")[0] in ADDED_SECTIONS}
        flat = {name: younger[name] for name in known if name in younger} | flat
        refuse_missing(known, flat)
        return base.replace({name: flat[name] for name in flat if name not in BASE})


def refuse_unknown(names: Iterable[str], run: Run) -> None:
    """Refuse dotted names that this run does not have, with the nearest that it has.

    Raises:
      ConfigError: names the first of them.
    """
    known = run.fields()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(shown_name(name), known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"fields are {', '.join(known)}"
            where = f"{shown_name(run.method)} on {shown_name(run.env)}"
            raise ConfigError(f"{shown_name(name)}: {where} has no such field; {hint}")


def refuse_missing(names: Iterable[str], given: dict[str, Any]) -> None:
    """Refuse a config.json without these fields: what is left out would change with defaults.

    Raises:
      ConfigError: names the first of them.
    """
    missing = [name for name in names if name not in given]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(f"{', '.join(missing[:3])}{more}: missing; config.json holds every field")


def validate(run: Run) -> None:
    """Check every field alone, then what fields demand of each other.

    Raises:
      ConfigError: see `Run`.
    """
    for leaf in field_names(run):
        section = getattr(run, leaf)
        if leaf not in SECTIONS:
            check_value(run, leaf)
        elif section is not None:
            for name in field_names(section):
                check_value(section, name, f"{leaf}.")
    if run.physics != "auto" and not registry.env_spec(run.env).simulated:
        raise ConfigError(f"physics = {run.physics!r}: must be auto; {run.env} simulates no robot")
    if run.ppo and run.ppo.memory == "cleared" and run.ppo.update == "trial":
        raise ConfigError(
            "ppo.memory = 'cleared': must be kept with ppo.update = trial; no update begins in the"
            " middle of one"
        )
    if code_files.is_file(run.method):
        return
    if run.imagination and run.imagination.mixture >= run.workers:
        raise ConfigError(
            f"imagination.mixture = {run.imagination.mixture}: must be less than workers"
            f" ({run.workers})"
        )
    if run.workers % run.group:
        raise ConfigError(
            f"workers = {run.workers}: must be a multiple of the group of {run.group}"
            f" (imagination.normal {run.imagination.normal} + imagination.mixture"
            f" {run.imagination.mixture})"
        )
    if run.inference and run.inference.level == "episode" and run.trial.episodes == 1:
        raise ConfigError(
            "inference.level = 'episode': must be step with trial.episodes = 1; there is no second"
            " episode that could use what the first one taught"
        )
    if run.vae and run.rl != "sac":
        stored = run.workers // run.group * (run.imagination.normal if run.imagination else 1)
        if run.vae.capacity < stored:
            raise ConfigError(
                f"vae.capacity = {run.vae.capacity}: must be at least the {stored}"
                f" trajectories that one update of {run.workers} workers adds"
            )
