"""`jaxmeta list`."""

import argparse

from jaxmeta.config import registry


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add no options."""


def run(args: argparse.Namespace) -> None:
    """Print studies, environments and methods."""
    from experiments.studies.run_study import STUDIES

    print("studies:")
    for name, study in STUDIES.items():
        print(f"  {name:34s}{', '.join(study.runs())}")
    for kind in ("environments", "methods"):
        print(f"{kind}:")
        for name, spec in sorted(registry.specs(kind).items()):
            also = ", ".join(getattr(spec, "aliases", ()))
            print(f"  {name:34s}{spec.about}" + (f" (also {also})" if also else ""))
