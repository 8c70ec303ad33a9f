"""`jaxmeta bench`."""

import argparse
import os
from pathlib import Path

from jaxmeta.rundir.layout import user_path


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("what", nargs="?", choices=("training", "gpu", "physics", "targets"),
                         default="training")  # fmt: skip
    command.add_argument("--out", type=user_path, default=Path("runs/bench.jsonl"))
    command.add_argument("--workers", type=int, nargs="+", default=[16, 128, 1024])
    command.add_argument("--methods", nargs="+", default=["rl2", "mixreg", "varibad", "ldm"])
    command.add_argument("--seeds", type=int, nargs="+", default=[1], help="trained side by side")
    command.add_argument("--engines", nargs="+", choices=("c", "mjx"), default=["c", "mjx"])


def run(args: argparse.Namespace) -> None:
    """Measure speed: of training and of the targets on one core of a CPU, of physics on all."""
    if args.what == "physics":
        from experiments.bench.physics_speed import bench_physics

        bench_physics(args.out, args.workers, args.engines)
        return
    if args.what == "targets":
        from experiments.bench.speed_targets import bench_targets

        bench_targets(args.out)
        return
    if args.what == "training" and hasattr(os, "sched_setaffinity"):  # before jax has threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    from experiments.bench.training_speed import bench

    bench(args.out, args.methods, args.workers, args.seeds, accelerated=args.what == "gpu")
