"""A sweep's folder: its programs, the runs that each trains, and which are done."""

import json
from collections.abc import Iterable
from pathlib import Path

from jaxmeta.config.data_format import FORMAT, KEY, require_known
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import parse_json_object
from jaxmeta.rundir import reading
from jaxmeta.rundir.layout import write_atomically
from jaxmeta.sweeps import sweep_grid as grids

RUNS, PROGRAMS, PROGRAM = "runs", "programs", "program.json"
ACCEPT = "--accept-changed-code"  # a worker's word: go on with what other code was trained by


def read_program(path: Path) -> dict[Path, Run]:
    """Return a program's runs by their directories.

    Raises:
      ConfigError: it is none, or its list is damaged.
    """
    file = path / PROGRAM
    with reading.untrusted_read(file):
        found = parse_json_object(file.read_text(encoding="utf-8"), str(file))
        require_known(found.get(KEY), str(file))
        runs = [Run.from_json(json.dumps(fields)) for fields in found["runs"]]
    return {run_folder(path.parent.parent, run): run for run in runs}


def run_folder(out: Path, run: Run) -> Path:
    """Return a configuration's directory in a sweep's folder; one that is there keeps its name."""
    folders = [out / RUNS / name for name in grids.digests(run)]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def write_program(path: Path, runs: Iterable[Run]) -> None:
    """Write the list of a program's runs, in its directory."""
    path.mkdir(parents=True, exist_ok=True)
    listed = {KEY: FORMAT, "runs": [run.fields() for run in runs]}
    write_atomically(path / PROGRAM, json.dumps(listed, indent=1) + "\n")


def is_done(path: Path, run: Run) -> bool:
    """Whether a run is finished, or all of its seeds became non-finite."""
    status = reading.status(path)
    return status == "finished" or (
        status == "failed" and len(reading.dead_seeds(path)) == run.seeds
    )
