"""The command line: `jaxmeta COMMAND`, also `python -m jaxmeta` and `python -m experiments`.

Input is checked before jax is imported. Exit codes: 0 done, 2 bad input, 75 stopped by a signal
and resumable, 1 anything else.
"""

import logging
import os
import sys

from experiments.cli.commands import command, read_command
from jaxmeta.config import own_packages
from jaxmeta.errors import (
    EXIT_CODE,
    CheckpointError,
    ConfigError,
    NonFiniteError,
    PeerLost,
    Preempted,
)
from jaxmeta.training.process_entry import own_process


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; without `argv`, the process is its own."""
    if argv is None:
        own_process()
    logger = logging.getLogger("jaxmeta")
    logger.setLevel(logging.INFO)
    logger.handlers = [StderrHandler()]
    if not logging.root.handlers:  # else some library adds one that shows our messages again
        logging.root.addHandler(others())
    try:
        own_packages.claim_names()  # `python -m experiments` may find a user's `envs`
        args = read_command(sys.argv[1:] if argv is None else argv)
        return command(args.command).run(args) or 0
    except ConfigError as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 2
    except PeerLost as error:
        print(f"jaxmeta: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(EXIT_CODE)  # JAX would wait for exited processes
    except Preempted as error:
        print(f"jaxmeta: {error}; run the same command to resume", file=sys.stderr)
        return EXIT_CODE
    except NonFiniteError as error:
        print(f"jaxmeta: all seeds became non-finite: {error}", file=sys.stderr)
        return 1
    except (CheckpointError, OSError) as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jaxmeta: interrupted", file=sys.stderr)
        return 1


def others() -> logging.Handler:
    """Return a handler for the warnings of other libraries."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: not record.name.startswith("jaxmeta"))
    return handler


class StderrHandler(logging.Handler):
    """Prints the library's messages to the current stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        print(f"jaxmeta: {level}{record.getMessage()}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
