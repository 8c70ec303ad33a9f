"""Training one program of a sweep: `python -m jaxmeta.worker PROGRAM INTERVAL SHARE [WORD ...]`.

INTERVAL is that between checkpoints, SHARE the part "i/n" of the cores. The words are names of the
form FILE.py:FUNCTION that may be executed if the program names them, and ACCEPT.
"""

import logging
import sys
from pathlib import Path

from jaxmeta.devices.cpu import use_share
from jaxmeta.errors import EXIT_CODE, CheckpointError, ConfigError, NonFiniteError, Preempted
from jaxmeta.sweeps.sweep_folder import ACCEPT
from jaxmeta.training.process_entry import own_process


def main(words: list[str]) -> int:
    """Train one program and return the exit code, as the command line's."""
    own_process()
    path, every, share, *more = words
    files = [word for word in more if word != ACCEPT]
    use_share(share)  # before jax is imported

    from jaxmeta.sweeps.train_program import run_program

    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("jaxmeta").setLevel(logging.INFO)
    try:
        run_program(Path(path), every, files=files, accept_changed_code=ACCEPT in more)
    except ConfigError as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 2
    except Preempted as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return EXIT_CODE
    except (NonFiniteError, CheckpointError, OSError) as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
