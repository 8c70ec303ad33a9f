"""The command line, `jaxmeta COMMAND` or `python -m jaxmeta COMMAND`: that of `experiments`."""

import importlib
import sys

from jaxmeta.config import own_packages


def main() -> int:
    """Run one command and return its exit code.

    Raises:
      ConfigError: another package called `experiments` was imported already.
    """
    own_packages.claim_names()
    return importlib.import_module("experiments.__main__").main()


if __name__ == "__main__":
    sys.exit(main())
