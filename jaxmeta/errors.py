"""Errors that a user can act on."""


class ConfigError(ValueError):
    """Bad input: the message names the field, the value and what is allowed."""


class NonFiniteError(RuntimeError):
    """Every seed ran into an infinity or a NaN: the message names updates and quantities."""


class CheckpointError(RuntimeError):
    """No checkpoint could be written, or none that is there can be trusted."""


class Preempted(RuntimeError):
    """A signal stopped training; the same call goes on from there."""


class PeerLost(Preempted):
    """Another process of the run is gone; the same call, in all, goes on from a checkpoint."""


EXIT_CODE = 75  # EX_TEMPFAIL: stopped, and can be resumed
