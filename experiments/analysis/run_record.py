"""A run's directory, read back in any state: running, cut short, with dead seeds.

This module imports neither jax nor matplotlib, and only reads.
"""

import os
import re
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.config import registry, user_code
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import evaluation_csv, layout, manifest, reading
from jaxmeta.rundir.evaluation_csv import POLICIES, Table
from jaxmeta.rundir.handed_over import KINDS, LIBRARY
from jaxmeta.rundir.layout import Death
from jaxmeta.statistics import select_rows, select_seeds, whole_evaluations

LABELS = {
    "rl2": "RL²",
    "mixreg": "Mixreg",
    "varibad": "variBAD",
    "ldm": "LDM",
    "varibad-off-policy": "variBAD, SAC",
    "moss": "MoSS",
}
# Okabe and Ito's colours, distinguishable with every common colour vision.
COLOURS = {"rl2": "#0072B2", "mixreg": "#56B4E9", "varibad": "#E69F00", "ldm": "#D55E00"}
MORE_COLOURS = ("#009E73", "#CC79A7", "#8C6D1F", "#555555")
FIRST_VERSION = 1  # of environments in manifests that are older than versions
FIRST_PHYSICS = dict.fromkeys(manifest.PHYSICS, "3.17.0")  # the same of packages
FILES = (layout.TASKS, layout.METRICS, layout.EVALUATION)
NO_ROWS: Table = {name: np.array([]) for name in evaluation_csv.COLUMNS}


class Origin(NamedTuple):
    """The versions and options that runs must share to be compared."""

    env_version: int | None  # None: the environment is from a file
    # "jax 0.10.2" of each package that the numbers come from, or "jax 0.10.2 then 0.11.0" where
    # the run was resumed under another; empty: not recorded.
    versions: tuple[str, ...]
    options: tuple[str, ...] = ()  # "env.radius = 0.3" of each option that the environment has
    # Of code that the run was handed, the digest's beginning, or those of what it was resumed by.
    env_code: str = ""
    method_code: str = ""


class Manifest(NamedTuple):
    """The part of manifest.json that results depend on."""

    status: str
    origin: Origin | None  # None: unknown
    dead: dict[int, Death]  # by seed
    python: str = ""  # "3.11.7", or "3.11.7 then 3.12.1"


class Results(NamedTuple):
    """A run directory, read back; dead (non-finite) seeds are excluded from its evaluation."""

    path: Path
    run: Run
    label: str
    status: str
    origin: Origin | None
    dead: dict[int, Death]
    tasks: list[dict]
    evaluation: Table  # whole evaluations of finite seeds only
    metrics: list[dict]
    colour: str = ""  # where it is drawn
    compared: int = 0  # episodes of its trials that are compared; 0: all
    python: str = ""

    @property
    def episodes(self) -> int:
        """The episodes of a trial that are compared."""
        return self.compared or self.run.trial.episodes

    @property
    def splits(self) -> list[str]:
        """The evaluated splits; the training split comes first."""
        return list(dict.fromkeys(task["split"] for task in self.tasks))

    @property
    def finite_seeds(self) -> list[int]:
        """The seeds that did not become non-finite."""
        return [seed for seed in range(self.run.seeds) if seed not in self.dead]

    @property
    def frames(self) -> int:
        """The recorded frames, per seed."""
        logged = [line["frames"] for line in self.metrics]
        return int(max([*logged, *self.evaluation["frames"]], default=0))

    def of_split(self, split: str) -> list[dict]:
        """Return a split's tasks."""
        return [task for task in self.tasks if task["split"] == split]

    def best(self, split: str) -> float | None:
        """Return the mean optimum of a split's tasks, None where it is unknown."""
        best = [task["best_return"] for task in self.of_split(split)]
        return None if None in best else float(np.mean(best))

    def has_goals(self) -> bool:
        """Whether reaching a goal is defined."""
        return not np.isnan(self.evaluation["reached"]).all()

    def table(self, policy: str, split: str, episode: int | None = None) -> Table:
        """Return one policy's rows on one split, by default at the N-th episode."""
        n = self.episodes if episode is None else episode
        return select_rows(self.evaluation, policy=policy, split=split, episode=n)

    def nonfinite_messages(self) -> list[str]:
        """Return in words which seeds became non-finite."""
        return [
            f"seed {seed} became non-finite at update {update} ({quantity})"
            for seed, (update, quantity) in sorted(self.dead.items())
        ]


def name(run: Run) -> str:
    """Return a run's display name: "RL²", "RL² oracle"."""
    oracle = " oracle" if run.train_split == "oracle" else ""
    return LABELS.get(run.method, run.method) + oracle


def read_results(path: Path) -> Results:
    """Read a run directory; missing or truncated parts are left out.

    Raises:
      ConfigError: it holds no run.
    """
    run = reading.read_run(path)
    recorded = read_manifest(path, run)
    has_rows = all((path / file).is_file() for file in FILES)
    tasks = reading.read_tasks(path) if has_rows else []
    table = evaluation_csv.read_evaluation(path) if has_rows else NO_ROWS
    finite = set(range(run.seeds)) - recorded.dead.keys()
    size = len(finite) * len(POLICIES) * len(tasks) * run.trial.episodes
    return Results(
        path=path,
        run=run,
        label=name(run),
        **recorded._asdict(),
        tasks=tasks,
        evaluation=whole_evaluations(select_seeds(table, finite), size),
        metrics=reading.read_metrics(path) if has_rows else [],
    )


def read_manifest(path: Path, run: Run) -> Manifest:
    """Return a run's manifest; a missing or bad one has no origin and names no dead seeds."""
    try:
        found = reading.read_manifest(path)
        if not found:
            return Manifest("without a manifest", None, {})
        codes = {field: code_words(found, run, field, path) for field in KINDS}
        made = origin(found, run)._replace(env_code=codes["env"], method_code=codes["method"])
        return Manifest(found["status"], made, reading.dead_seeds(path), python_words(found))
    except (ConfigError, AttributeError, LookupError, TypeError, ValueError):
        return Manifest("with an unreadable manifest", None, {})


def origin(found: dict[str, Any], run: Run) -> Origin:
    """Return the origin of a run, by its manifest.

    Raises:
      ConfigError: an unknown environment.
      ValueError: no version of the environment, or of a package.
    """
    version = found.get("env_version", None if user_code.is_file(run.env) else FIRST_VERSION)
    if not isinstance(version, int | None):
        raise ValueError(f"env_version = {version!r}")
    later = [changed["versions"][1] for changed in changes(found) if "versions" in changed]
    simulated = registry.recorded_env_spec(run.env).simulated
    used = [relevant_versions(v, simulated) for v in (found.get("versions", {}), *later)]
    words = []
    for package in sorted({name for versions in used for name in versions}):
        history = [versions.get(package, "unknown") for versions in used]
        words.append(f"{package} {in_turn(history)}")
    options = [f"{k} = {safe_repr(v)}" for k, v in run.fields().items() if k.startswith("env.")]
    return Origin(version, tuple(words), tuple(options))


def changes(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what had changed each time that a run was resumed."""
    return [entry.get("changed", {}) for entry in found.get("resumed_from", [])]


def in_turn(history: list[str]) -> str:
    """Return what was the case one after the other, in words."""
    return " then ".join(word for word, _ in groupby(history))


def python_words(found: dict[str, Any]) -> str:
    """Return the versions of Python that a run was made under, "" where none is recorded.

    Raises:
      ValueError: a malformed version.
    """
    later = [changed["python"][1] for changed in changes(found) if "python" in changed]
    history = [found["python"], *later] if "python" in found else []
    if not all(re.fullmatch(r"[\w.+]{1,99}", version) for version in history):
        raise ValueError(f"python = {history!r}")
    return in_turn(history)


def code_words(found: dict[str, Any], run: Run, field: str, path: Path) -> str:
    """Return which code of the user's a run was made by, "" for a library's.

    What could not be told is like no other run's. Manifests of 0.2 hold the sha256 of files only.

    Raises:
      ValueError: a malformed digest.
    """
    in_files = [name for name in KINDS if user_code.is_file(getattr(run, name))]
    digests = found.get("own_code_sha256", [])
    if "code" in found:
        later = [changed["code"][1] for changed in changes(found) if "code" in changed]
        entries = [code.get(field, {}) for code in (found["code"], *later)]
    elif field in in_files and len(digests) == len(in_files):
        entries = [{"source": digests[in_files.index(field)]}]
    else:
        entries = []
    own = [entry for entry in entries if entry and entry.get("from") not in LIBRARY]
    known = [entry.get("source", entry.get("object", "")) for entry in own]
    if not all(re.fullmatch("([0-9a-f]{64})?", digest) for digest in known):
        raise ValueError(f"code: {known!r}")
    return in_turn([digest[:12] or f"unknown ({path.name})" for digest in known])


def relevant_versions(versions: dict[str, str], simulated: bool) -> dict[str, str]:
    """Return the versions of the packages that an environment's numbers come from.

    Raises:
      ValueError: a malformed version, such as a terminal's control sequence.
    """
    for name, version in versions.items():
        if not re.fullmatch(r"[\w.+!-]{1,99}", name) or not re.fullmatch(
            r"[\w.+!-]{1,99}", version
        ):
            raise ValueError(f"versions: {name!r}: {version!r}")
    if simulated:
        return FIRST_PHYSICS | versions if versions else {}
    return {name: v for name, v in versions.items() if name not in manifest.PHYSICS}


def expand(paths: list[Path]) -> list[Path]:
    """Return run directories; a folder of runs is replaced by them.

    Raises:
      ConfigError: a folder that neither is nor contains one.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(config.parent for config in path.glob(f"*/{layout.CONFIG}"))
        if (path / layout.CONFIG).is_file():
            found.append(path)
        elif inside:
            found += inside
        else:
            raise ConfigError(f"{path}: holds no run, and no folder of runs")
    return list({path.resolve(): path for path in found}.values())


def read(paths: list[Path]) -> list[Results]:
    """Read run directories, the known methods first, each with a label of its own.

    Raises:
      ConfigError: no run, one that cannot be read, or runs on different environments.
    """
    return labelled([read_results(path) for path in expand(paths)])


def read_readable(paths: list[Path]) -> tuple[list[Results], list[str]]:
    """Do what `read` does; leave out what cannot be read, each with a warning.

    Raises:
      ConfigError: nothing can be read, or runs on different environments.
    """
    every, refused = [], []
    for path in expand(paths):
        try:
            every.append(read_results(path))
        except ConfigError as error:
            refused.append(error)
    if not every:
        raise refused[0]
    return labelled(every), [f"WARNING: a run is left out: {error}" for error in refused]


def labelled(every: list[Results]) -> list[Results]:
    """Return runs in the order in which they are shown, with labels and colours.

    Raises:
      ConfigError: they are on different environments.
    """
    environments = {result.run.env for result in every}
    if len(environments) > 1:
        raise ConfigError(
            f"report: the runs must share one environment, not {', '.join(sorted(environments))}"
        )
    order = [*LABELS, *sorted({result.run.method for result in every} - LABELS.keys())]
    every.sort(key=lambda result: (order.index(result.run.method), is_oracle(result.run)))
    labels = Counter(result.label for result in every)
    drawn: list[Results] = []
    for result in every:
        label = result.label
        if labels[label] > 1:
            label = f"{label} ({result.path.resolve().name})"
        drawn.append(result._replace(label=label, colour=colour(result.run, drawn)))
    return drawn


def colour(run: Run, before: list[Results]) -> str:
    """Return the method's colour; an oracle shares it, other namesakes get the next free one."""
    used = {r.colour for r in before if is_oracle(r.run) == is_oracle(run)}
    own = [COLOURS[run.method]] if run.method in COLOURS else []
    own += [r.colour for r in before if r.run.method == run.method]
    free = [c for c in (*own, *MORE_COLOURS) if c not in used]
    return free[0] if free else MORE_COLOURS[-1]


def is_oracle(run: Run) -> bool:
    """Whether the run was trained on the test tasks too."""
    return run.train_split == "oracle"


def common_folder(paths: list[Path]) -> Path:
    """Return the folder for a report on these runs: the run's own, or their common parent."""
    return Path(os.path.commonpath([path.resolve() for path in paths]))
