"""Training one program of a sweep: `python -m jaxmeta.worker PROGRAM PERIOD SHARE [FILE ...]`.

PERIOD is that between checkpoints, SHARE the part "i/n" of the cores, FILE the names of the
form FILE.py:FUNCTION that may be executed if the program names them.
"""

import logging
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmeta.errors import CheckpointError, ConfigError, NonFiniteError, Preempted
from jaxmeta.rundir import claim
from jaxmeta.sweeps import executors, plan
from jaxmeta.training import stop_signals

if TYPE_CHECKING:
    from jaxmeta.training.loop import Status


def run_program(
    path: Path,
    checkpoint_every: str = "120s",
    watch: "Callable[[Status], None]" = lambda status: None,
    files: Collection[str] = (),
) -> None:
    """Train a program's runs, from wherever they are.

    `files` are names of the form FILE.py:FUNCTION that may be executed.

    Raises:
      ConfigError: it is none, in use, or its runs are of code from a file.
      Exception: what `train` raises.
    """
    from jaxmeta.training.train_run import train_together

    runs = plan.read_program(path)
    if claim.read_manifest(path).get("status") == "finished":
        return
    for folder, run in runs.items():
        own = {name for name in (run.env, run.method) if name in files}
        claim.refuse_named_code(run, run.env in own or None, run.method in own or None)
        claim.check(run, folder, path.name)
    claim.require_free(path)
    train_together(path, runs, checkpoint_every, watch)


def main(words: list[str]) -> int:
    """Train one program and return the exit code, as the command line's."""
    path, every, share, *files = words
    executors.use_share(share)
    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("jaxmeta").setLevel(logging.INFO)
    try:
        run_program(Path(path), every, files=files)
    except ConfigError as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 2
    except Preempted as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return stop_signals.EXIT_CODE
    except (NonFiniteError, CheckpointError, OSError) as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
