"""A trial as a video: GIF by Pillow, MP4 by imageio's ffmpeg."""

import importlib.util
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from envs.locomotion.robot_models import xml
from experiments.analysis.robot_motion import Motion, motion_on, robot_of
from experiments.figures.offscreen import CameraFrame, render_frames
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import reading

SIZE = (480, 320)  # pixels
KINDS = (".gif", ".mp4")
GIF_STEPS = 2  # per image: a GIF of all steps would be twice as large
HEIGHT = 0.15  # of the task's marker, metres


def check(path: Path, task: int | None, out: Path) -> int:
    """Return the task to record, by default the first one that is no training task.

    Raises:
      ConfigError: no run, no such task, or a file that cannot be written as asked.
    """
    run = reading.read_run(path)
    tasks = reading.read_tasks(path)
    if task is not None and not 0 <= task < len(tasks):
        raise ConfigError(f"task = {task}: {run.env} has evaluation tasks 0 to {len(tasks) - 1}")
    if out.suffix not in KINDS:
        raise ConfigError(f"out = {safe_repr(str(out))}: must end in {' or '.join(KINDS)}")
    if out.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ConfigError(
            f"out = {safe_repr(str(out))}: .mp4 needs imageio with ffmpeg (pip install"
            " 'jaxmeta[video]'); .gif works without"
        )
    if not out.parent.is_dir():
        raise ConfigError(f"out = {safe_repr(str(out))}: there is no folder {out.parent}")
    if task is None:
        first = tasks[0]["split"]
        task = next((i for i, t in enumerate(tasks) if t["split"] != first), 0)
    return task


def record_video(
    path: Path,
    out: Path,
    task: int,
    seed: int = 0,
    which: str = "last",
    policy: str = "greedy",
) -> Motion:
    """Write the video of one trial of a run's agent; return how it moved.

    Raises:
      ConfigError, CheckpointError: as `motion_on`.
    """
    env, motion = motion_on(path, task, seed, which, policy)
    marked: Any = env.env  # the robot, or a wrapper that knows the current task
    every = GIF_STEPS if out.suffix == ".gif" else 1
    steps = range(0, len(motion.reward), every)
    start = {e: int(np.argmax(motion.episode == e)) for e in set(motion.episode.tolist())}

    def camera_frames() -> Iterator[CameraFrame]:
        for t in steps:
            seconds = (t - start[int(motion.episode[t])]) * motion.dt
            x, y = marked.marker_position(motion.task["task"], seconds)
            yield CameraFrame(motion.qpos[t].tolist(), [(x, y, HEIGHT)])

    drawn = render_frames(xml(robot_of(env).robot), camera_frames(), *SIZE)
    name = reading.read_run(path).env
    frames = (
        captioned(picture, caption(name, motion, t))
        for t, picture in zip(steps, drawn, strict=True)
    )
    write(frames, out, every * motion.dt)
    return motion


def caption(name: str, motion: Motion, t: int) -> list[str]:
    """Return the caption of a step."""
    task = words(motion.task["task"])
    episode = motion.episode == motion.episode[t]
    seconds = (t - int(np.argmax(episode))) * motion.dt
    return_so_far = motion.reward[: t + 1][episode[: t + 1]].sum()
    return [
        f"{name}, task {task} ({motion.task['split']})",
        f"episode {motion.episode[t] + 1}, {seconds:.1f} s, return {return_so_far:.1f}",
    ]


def words(task: Any) -> str:
    """Return a task for a caption: numbers with two digits, the names of its parts."""
    if isinstance(task, dict):
        return ", ".join(f"{name} {words(part)}" for name, part in task.items())
    return np.array2string(np.asarray(task), precision=2)


def captioned(picture: np.ndarray, lines: list[str]) -> Image.Image:
    """Return an image with lines of text in its corner."""
    image = Image.fromarray(picture)
    drawing = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        drawing.text((8, 6 + 16 * i), line, fill=(20, 20, 20))
    return image


def write(frames: Iterator[Image.Image], out: Path, seconds: float) -> None:
    """Write images, each shown for so many seconds."""
    first = next(frames)
    if out.suffix == ".gif":
        # One palette for all, else colours flicker.
        palette = first.quantize(128, dither=Image.Dither.NONE)
        rest = (f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames)
        palette.save(
            out, save_all=True, append_images=list(rest), duration=round(1000 * seconds), loop=0
        )
        return
    import imageio_ffmpeg

    writer = imageio_ffmpeg.write_frames(str(out), first.size, fps=round(1 / seconds))
    with warnings.catch_warnings():  # JAX warns of any fork, but this one only starts ffmpeg
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        writer.send(None)
    for frame in itertools.chain([first], frames):
        writer.send(np.ascontiguousarray(frame))
    writer.close()
