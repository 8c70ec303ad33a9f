"""`jaxmeta sweep`: sweeps described in a TOML file; reading, announcing and running them."""

import argparse
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.cli.train import accept_option, announce_default_frames
from experiments.terminal.consoles import new_console
from experiments.terminal.wide_tables import print_whole
from jaxmeta.config.run import BASE_FIELDS, Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import evaluation_csv, reading
from jaxmeta.rundir.layout import user_path
from jaxmeta.sweeps.plan import Plan, plan, require_same_code, results, sweep

KEYS: dict[str, Any] = {
    "base": (dict, list),
    "grid": dict,
    "points": list,
    "seeds": int,
    "out": str,
    "executor": str,
    "workers": int,
    "slurm": dict,
    "max_members": int,
    "checkpoint_every": str,
}


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("file", metavar="FILE.toml", type=user_path, help="see docs/sweeps.md")
    command.add_argument(
        "--out", type=user_path, help="the sweep's folder (default: the file's `out`)"
    )
    command.add_argument("--dry-run", action="store_true", help="runs, programs and hours only")
    command.add_argument("--executor", help="here, processes, slurm or print (default: the file's)")
    command.add_argument("--workers", type=int, help="processes at a time")
    command.add_argument("--checkpoint-every", metavar="INTERVAL", help="as for train")
    accept_option(command)


def run(args: argparse.Namespace) -> int:
    """Run the sweep that a file describes; return the exit code."""
    chosen = ("out", "executor", "workers", "checkpoint_every", "accept_changed_code")
    given = {k: v for k in chosen if (v := getattr(args, k)) is not None}
    return run_sweep(read_sweep(args.file) | given, args.dry_run)


def read_sweep(path: Path) -> dict[str, Any]:
    """Return the arguments of `jaxmeta.sweep` that a file holds.

    Raises:
      ConfigError: no such file, no TOML, unknown or mistyped keys, bad fields.
    """
    try:
        parsed = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    for key, value in parsed.items():
        if key not in KEYS:
            raise ConfigError(f"{path}: {key}: must be one of {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise ConfigError(f"{path}: {key} = {safe_repr(value)}: of the wrong kind")
    given = parsed.get("base", {})
    bases = given if isinstance(given, list) else [given]
    varied = {k for table in (parsed.get("grid", {}), *parsed.get("points", [])) for k in table}
    runs = []
    for base in bases:
        runs.append(base_run(base))
        if "frames" not in {*base, *varied}:
            announce_default_frames(runs[-1])
    return {
        **parsed,
        "base": runs,
        **{key: flat(parsed[key]) for key in ("grid",) if key in parsed},
        **{key: [flat(point) for point in parsed[key]] for key in ("points",) if key in parsed},
        "out": user_path(parsed.get("out", f"runs/{path.stem}")),
    }


def base_run(fields: Mapping[str, Any]) -> Run:
    """Return the run that a [base] table describes."""
    named = flat(fields)
    return Run(**{k: named.pop(k) for k in BASE_FIELDS if k in named}).replace(named)


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a table's dotted names, with or without nested tables: [grid.a2c] gamma = [...]."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def run_sweep(arguments: dict[str, Any], dry_run: bool) -> int:
    """Print what a sweep consists of; unless `dry_run`, train it and print the table.

    Returns the exit code: 1 if any seed became non-finite, or a run that trains here is
    unfinished.
    """
    console = new_console(soft_wrap=True)
    planning = ("base", "grid", "points", "seeds", "out", "max_members")
    planned = plan(**{k: v for k, v in arguments.items() if k in planning})
    todo = planned.unfinished()
    console.print(
        f"{arguments['out']}: {len(planned.runs)} runs, {len(planned.runs) - len(todo)} finished;"
        f" to do: {len(todo)} in {len(planned.programs)} programs"
    )
    if dry_run:
        announce(console, planned)
        return 0
    if todo:
        from experiments.terminal.training_display import progress_listener

        with progress_listener(console, "sweep") as watch:
            sweep(**arguments, watch=watch)
    else:
        require_same_code(planned, arguments["accept_changed_code"])
        console.print("nothing to do: everything is finished already")
    table = results(planned.runs)
    drawn = draw(table)
    print_whole(console, drawn)
    nonfinite = {path for path in planned.runs if reading.status(path) and reading.dead_seeds(path)}
    elsewhere = arguments.get("executor") in ("slurm", "print")
    return 1 if nonfinite or (planned.unfinished() and not elsewhere) else 0


def announce(console: Console, planned: Plan) -> None:
    """Print every program with its runs, and the time that it will take here."""
    from experiments.terminal.speed_forecast import frames_per_s

    total = 0.0
    for path, runs in planned.programs.items():
        first = next(iter(runs.values()))
        members = sum(run.seeds for run in runs.values())
        hours = first.frames * members / frames_per_s(first.replace({"seeds": members})) / 3600
        total += hours
        console.print(
            f"{path}: {first.method} on {first.env}, {len(runs)} runs x {first.seeds} seeds x"
            f" {first.frames:,} frames, {hours:.2f} hours"
        )
        for folder in runs:
            console.print(f"  {folder}")
    console.print(f"together {total:.2f} hours on this machine, if nothing is done yet")


def draw(table: evaluation_csv.Table) -> Table:
    """Return a sweep's results for the terminal."""
    forms: dict[str, Callable[[Any], str]] = {"run": lambda path: Path(path).name}
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in table:
        drawn.add_column(name.replace("_", "\n"), no_wrap=True)
    for row in zip(*table.values(), strict=True):
        drawn.add_row(
            *(
                forms.get(name, lambda v: f"{v:.4g}" if isinstance(v, float) else str(v))(value)
                for name, value in zip(table, row, strict=True)
            )
        )
    return drawn
