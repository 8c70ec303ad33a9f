"""Training runs as real processes: started, watched, killed, and compared."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from jaxmeta.rundir import layout, reading
from tests.tiny import tiny_run

REPO = Path(__file__).parent.parent
CLOCK = ("wall_s", "frames_per_s")  # the keys of metrics.jsonl that two runs differ in
CACHE = REPO / ".cache" / "jax"  # of both workers of `make test`, and of the processes they start
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(REPO),
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}


def arguments(method, frames, **overrides):
    """Return the words of a tiny run's command line, behind `train gridworld`."""
    run = tiny_run(method, {"frames": frames, "log_every": 2400, "evaluation.every": 24_000})
    fields = run.replace(overrides).fields().items()
    text = lambda x: ",".join(map(str, x)) if isinstance(x, tuple) else str(x)
    named = [(k, text(v)) for k, v in fields if k not in ("env", "method", "preset")]
    return ["--method", method, *(word for k, v in named for word in (f"--{k}", v))]


def free_port():
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


STARTED: list[subprocess.Popen] = []


def end_all():
    """Leave no process behind a failed test."""
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


class Process:
    """One `jaxmeta` command, its output in a file, unless Popen's `streams` say otherwise.

    `through` are the words of a command that becomes it.
    """

    def __init__(self, *words, log, streams=None, through=(), **environment):
        self.log = log
        command = [*through, sys.executable, "-P", "-m", "experiments", *map(str, words)]
        with log.open("w") as out:
            streams = {"stdout": out, "stderr": subprocess.STDOUT} if streams is None else streams
            self.process = subprocess.Popen(command, env=ENVIRONMENT | environment, **streams)
        STARTED.append(self.process)

    def wait_until(self, condition, seconds=120):
        """Poll until something holds; fail if the process ends before, or it takes too long."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended early: {self.log.read_text()}"
            assert time.monotonic() < end, f"waited in vain: {self.log.read_text()}"
            time.sleep(0.002)

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL

    def finish(self, seconds=300):
        """Return the exit code and what was printed."""
        return self.process.wait(seconds), self.log.read_text()


def newest(out):
    """Return the newest checkpoint's update, 0 without one."""
    folder = out / layout.CHECKPOINTS
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def saving(out):
    """Whether a checkpoint is being written."""
    return any((out / layout.CHECKPOINTS).glob("*orbax-checkpoint-tmp*"))


def rows_logged(out):
    """Return the lines of metrics.jsonl, without what only the clock decides."""
    lines = (out / layout.METRICS).read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k not in CLOCK} for x in lines]


def stored_digests(out):
    """Return the sha256 of every leaf of the newest checkpoint, as its index has them."""
    (index,) = (out / layout.CHECKPOINTS / str(newest(out)) / "index").glob("metadata")
    leaves = json.loads(index.read_text())["leaves"]
    return {f"{item}.{k}": v["sha256"] for item, of in leaves.items() for k, v in of.items()}


def assert_same(out, reference):
    """Assert that two finished runs gave the same: leaves, evaluations and metrics."""
    assert reading.status(out) == reading.status(reference) == "finished"
    assert newest(out) == newest(reference)
    ours, theirs = stored_digests(out), stored_digests(reference)
    assert {k for k in ours if ours[k] != theirs[k]} == set()
    assert ours.keys() == theirs.keys()
    assert rows_logged(out) == rows_logged(reference)
    with (out / layout.EVALUATION).open() as a, (reference / layout.EVALUATION).open() as b:
        assert list(csv.reader(a)) == list(csv.reader(b))


def resumed_from(out):
    """Return the updates from which a run went on."""
    return [entry["update"] for entry in reading.read_manifest(out)["resumed_from"]]
