"""A sweep's folder: its programs, the runs that each trains, and which are done."""

import json
from pathlib import Path

from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import parse_json_object
from jaxmeta.rundir import reading
from jaxmeta.sweeps import sweep_grid as grids

RUNS, PROGRAMS, PROGRAM = "runs", "programs", "program.json"


def read_program(path: Path) -> dict[Path, Run]:
    """Return a program's runs by their directories.

    Raises:
      ConfigError: it is none, or its list is damaged.
    """
    file = path / PROGRAM
    with reading.untrusted_read(file):
        listed = parse_json_object(file.read_text(), str(file))["runs"]
        runs = [Run.from_json(json.dumps(fields)) for fields in listed]
    return {path.parent.parent / RUNS / grids.digest(run): run for run in runs}


def is_done(path: Path, run: Run) -> bool:
    """Whether a run is finished, or none of its seeds is left to finish."""
    status = reading.status(path)
    return status == "finished" or (
        status == "failed" and len(reading.dead_seeds(path)) == run.seeds
    )
