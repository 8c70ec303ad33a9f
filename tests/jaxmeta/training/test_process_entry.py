"""A command's process: what it prints can be lost, and no file gets what is meant for the user."""

import io
import os
import subprocess
import sys

import pytest

from jaxmeta.training.process_entry import LastingFile

# Without own_process, the file below gets the lowest descriptor that is free: stderr's.
WITHOUT_STREAMS = """
import os, sys
from jaxmeta.training import process_entry, stop_signals
process_entry.own_process()
with open(sys.argv[1], "w") as file:
    print("to nobody"); print("to nobody", file=sys.stderr); os.write(2, b"to nobody")
    stop_signals.say("to nobody")
    file.write("mine")
"""


def test_a_process_without_streams_writes_into_no_file(tmp_path):
    file = tmp_path / "metrics.jsonl"
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    command = [*closed, sys.executable, "-c", WITHOUT_STREAMS, file]
    assert subprocess.run(command).returncode == 0
    assert file.read_text() == "mine"


def text_stream(descriptor, encoding="utf-8"):
    file = LastingFile(descriptor, "w")
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, "backslashreplace")


def test_a_reader_that_left_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    with text_stream(writer) as stream:
        for _ in range(3):
            print("lost", file=stream, flush=True)


def test_a_full_disk_is_said_once(capsys):
    with text_stream(os.open("/dev/full", os.O_WRONLY)) as stream:
        for _ in range(3):
            print("lost", file=stream, flush=True)
    assert capsys.readouterr().err.count("not all could be shown: No space left on device") == 1


def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    size = 1 << 20  # more than a pipe holds
    consumer = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(len(sys.stdin.buffer.read()))"],
        stdin=reader,
        stdout=subprocess.PIPE,
    )
    os.close(reader)
    with text_stream(writer) as stream:
        stream.write(size * "x")
    assert int(consumer.communicate()[0]) == size


COMMAND = [sys.executable, "-P", "-m", "experiments", "list"]
NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("target", ["pipe", "/dev/full"])
def test_a_command_ends_well_whoever_reads_it(target):
    if target == "pipe":
        reader, out = os.pipe()
        os.close(reader)
    else:
        out = os.open(target, os.O_WRONLY)
    environment = os.environ | NO_UTF8  # its list has letters that ASCII lacks
    done = subprocess.run(COMMAND, stdout=out, stderr=subprocess.PIPE, env=environment)
    os.close(out)
    assert done.returncode == 0
    assert (b"not all could be shown" in done.stderr) == (target != "pipe")
