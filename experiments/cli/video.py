"""`jaxmeta video`."""

import argparse

from jaxmeta.rundir import reading
from jaxmeta.rundir.layout import user_path


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("dir", metavar="DIR", type=user_path)
    command.add_argument(
        "--task", type=int, metavar="N", help="see tasks.json (default: the first test task)"
    )
    command.add_argument("--seed", type=int, default=0, help="default: 0")
    command.add_argument("--which", choices=("last", "best"), default="last")
    command.add_argument("--policy", choices=("greedy", "sampled"), default="greedy")
    command.add_argument(
        "--out",
        type=user_path,
        metavar="FILE",
        help=".gif or .mp4 (default: DIR/figures/task-N.gif)",
    )


def run(args: argparse.Namespace) -> None:
    """Record one trial."""
    from experiments.figures.offscreen import choose_gl_backend

    reading.refuse_named_code(reading.read_run(args.dir))
    choose_gl_backend()

    from experiments.figures.trial_video import check, record_video

    out = args.out or args.dir / "figures" / "video.gif"
    task = check(args.dir, args.task, out if args.out else args.dir / out.name)
    if not args.out:
        out = out.with_name(f"task-{task}.gif")
        out.parent.mkdir(exist_ok=True)
    motion = record_video(args.dir, out, task, args.seed, args.which, args.policy)
    returns = [motion.reward[motion.episode == e].sum() for e in range(motion.episode[-1] + 1)]
    print(f"{out}: return by episode {', '.join(f'{r:.1f}' for r in returns)}")
