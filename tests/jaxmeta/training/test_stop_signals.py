"""Requests to stop: one asks, the second ends the process, both are heard by all."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxmeta.training.stop_signals import ORDERS, WARNINGS, stop_requests

DEAF = """
import sys, time
from jaxmeta.training import process_entry, stop_signals
if sys.argv[1] == "command":
    process_entry.own_process()
try:
    with stop_signals.stop_requests():
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
except KeyboardInterrupt:
    sys.exit(3)  # a notebook's kernel would live on
"""


@pytest.mark.fault("two signals: the second exits at once")
@pytest.mark.parametrize(
    ("second", "kind", "code"),
    [(signal.SIGTERM, "command", 75), (signal.SIGINT, "command", 75), (signal.SIGINT, "api", 3)],
)
def test_a_second_signal_ends_a_process_that_does_not_listen(second, kind, code):
    """In a script or a notebook it is an exception: the process is not ours to end."""
    command = [sys.executable, "-c", DEAF, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            assert b"SIGTERM: finishing this chunk" in process.stderr.readline()
            assert process.poll() is None
            process.send_signal(second)
            assert process.wait(10) == code
            assert b"stopped at once" in process.stderr.readline()
        finally:
            process.kill()


def test_what_came_is_named_and_handlers_are_put_back():
    numbers = (*ORDERS, *WARNINGS)
    before = [signal.getsignal(number) for number in numbers]
    with stop_requests() as asked:
        assert asked() is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked() == "SIGTERM"
    assert [signal.getsignal(number) for number in numbers] == before
    with stop_requests() as asked:
        assert asked() is None  # it is over


@pytest.mark.parametrize("number", WARNINGS)
def test_a_warning_asks_however_often_it_comes(number, capsys):
    with stop_requests() as asked:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # SLURM's, behind its warning
        assert asked() == signal.Signals(number).name
    assert capsys.readouterr().err.count("finishing this chunk, then saving") == 1


def test_a_notebook_sees_the_first_notice_and_gets_an_exception(monkeypatch):
    """There `sys.stderr` is no file of the process; a command writes to its descriptor."""
    seen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", seen)
    with pytest.raises(KeyboardInterrupt), stop_requests() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked() == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)
    assert "SIGINT: finishing this chunk" in seen.getvalue()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Impatient(io.StringIO):
    """Its reader orders a stop as soon as the first is said, while its handler still runs."""

    def write(self, text):
        if "again: at once" in text:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return super().write(text)


def test_an_order_that_interrupts_the_first_notice_is_the_second(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Impatient())
    with pytest.raises(KeyboardInterrupt), stop_requests() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        asked()


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, Broken()])
def test_a_notice_that_nobody_can_read_is_no_error(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    with stop_requests() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked() == "SIGTERM"


def test_nohup_is_obeyed():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_study_hears_of_what_came_during_its_runs():
    with stop_requests() as study:
        with stop_requests() as run:
            os.kill(os.getpid(), signal.SIGINT)
        assert run() == study() == "SIGINT"


def test_in_another_thread_nothing_is_caught():
    heard = []

    def work():
        with stop_requests() as asked:
            heard.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [None]
