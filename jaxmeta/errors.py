"""Errors that a user can act on."""


class ConfigError(ValueError):
    """Bad input: the message names the field, the value and what is allowed."""


class NonFiniteError(RuntimeError):
    """Training produced an infinity or a NaN: the message names update, seed and quantity."""
