"""Errors that a user can act on."""


class ConfigError(ValueError):
    """Bad input: the message names the field, the value and what is allowed."""


class NonFiniteError(RuntimeError):
    """Every seed became non-finite: the message names the updates and the metrics."""


class CheckpointError(RuntimeError):
    """No checkpoint could be written, or none could be verified."""


class Preempted(RuntimeError):
    """A signal interrupted training; the same call resumes it."""


class PeerLost(Preempted):
    """Another process of the run has exited; the same call in all processes resumes it."""


EXIT_CODE = 75  # EX_TEMPFAIL: stopped, and can be resumed
