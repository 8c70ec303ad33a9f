"""Small unfinished runs of every kind, as some version of the library wrote them.

`python -m tests.written_runs FOLDER` writes them by the version that is here; those of released
versions are committed, in `tests/written_by/VERSION`, and stay readable (tests/test_formats.py).
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import jaxmeta
from jaxmeta.rundir import layout
from jaxmeta.sweeps import sweep_folder
from tests.foreign import bandit, fading_rl2
from tests.probes import Steer

ROOT = Path(__file__).parent
NETWORKS = {"networks.hidden": 2, "networks.state_embedding": 2, "networks.head": 2}
VAE = {
    "vae.latent": 2, "vae.batch": 2, "vae.capacity": 2, "vae.decoder_layers": (2,),
    "vae.elbo_latents": 2, "vae.elbo_steps": 2, "imagination.normal": 1, "imagination.mixture": 1,
}  # fmt: skip
SAC = {
    "sac.layers": (2,), "sac.obs_embedding": 0, "sac.updates": 1, "sac.batch": 2,
    "replay.tasks": 2, "replay.initial": 0, "replay.encoded": 4, "inference.latent": 2,
    "inference.components": 1, "inference.hidden": 2, "inference.decoder_layers": (2,),
    "inference.window": 2, "inference.updates": 1, "inference.batch": 2,
}  # fmt: skip
BANDIT, STEER = "tests/foreign/bandit.py", "tests/probes.py:Steer"
UPDATES = 4  # of every run; they are stopped after the second


def runs() -> dict[str, tuple[jaxmeta.Run, dict]]:
    """Return the runs by their folders, each with the code that a folder may not name."""
    ldm = short(jaxmeta.Run(method="ldm"), 30, NETWORKS | VAE)
    moss = short(jaxmeta.Run(env=STEER, method="moss"), Steer.horizon, SAC)
    own = jaxmeta.Run(env=BANDIT, method="tests/foreign/fading_rl2.py")
    own = short(own, 4, NETWORKS | {"networks.policy_layers": (2,)})
    code = {"env": bandit.make(), "method": fading_rl2.make}
    return {
        "on-policy": (ldm, {}),
        "off-policy": (moss, {"env": Steer()}),
        "file-method": (own, code),
    }


def short(run: jaxmeta.Run, horizon: int, sizes: dict) -> jaxmeta.Run:
    """Return a run of two workers and a few updates of one episode."""
    lengths = {"workers": 2, "trial.episodes": 1, "frames": 2 * horizon * UPDATES}
    return run.replace(lengths | {"log_every": 1, "evaluation.every": 1} | sizes)


def write(folder: Path) -> None:
    """Write all runs and a sweep, each stopped in its middle with one checkpoint."""
    for name, (run, code) in runs().items():
        per_update = run.frames // UPDATES
        watch = stopping_at(2 * per_update)
        try:
            jaxmeta.train(run, folder / name, watch=watch, checkpoint_every="1u", **code)
        except jaxmeta.Preempted:
            keep_newest(folder / name)
    swept = short(jaxmeta.Run(method="rl2"), 30, NETWORKS)
    grid = {"a2c.gamma": [0.9, 0.95]}
    try:
        jaxmeta.sweep(swept, grid, out=folder / "sweep", watch=stopping_at(120))
    except jaxmeta.Preempted:
        for program in (folder / "sweep" / sweep_folder.PROGRAMS).iterdir():
            keep_newest(program)


def stopping_at(frames: int) -> "jaxmeta.Watch":
    """Return a progress callback that asks for a stop, as Ctrl-C does."""

    def watch(status: "jaxmeta.Status") -> None:
        if status.frames == frames and status.frames_per_s:
            os.kill(os.getpid(), signal.SIGTERM)

    return watch


def keep_newest(path: Path) -> None:
    """Delete all checkpoints but the newest, and what names this machine's folders."""
    folder = path / layout.CHECKPOINTS
    for written in folder.rglob("commit_success.txt"):  # by orbax, which looks whether it is there
        written.write_text("committed\n")
    for update in layout.checkpoint_updates(folder)[:-1]:
        shutil.rmtree(folder / str(update))
    for leftover in (layout.LOCK, layout.HOLDER):
        (path / leftover).unlink(missing_ok=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
