"""Compiled programs are kept on disk: the second start of a run is a matter of seconds."""

import hashlib
import logging
import os
from pathlib import Path

import jax

from jaxmeta.devices.cpu import instructions, processor

MOST_BYTES = 4 << 30  # beyond, JAX drops what was not used for longest; it also makes JAX lock

log = logging.getLogger(__name__)


def enable_compilation_cache() -> None:
    """Have JAX keep compiled programs in the user's cache folder, or where the user says.

    `JAX_COMPILATION_CACHE_DIR` names another folder, `JAX_ENABLE_COMPILATION_CACHE=false`
    keeps nothing. Programs that call back into Python, as C MuJoCo's do, JAX never keeps.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # no home, a disk that is read only
        log.info("compiled programs are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cache_folder() -> Path:
    """Return this kind of processor's folder: homes are shared by unlike machines.

    A CPU program uses whatever instructions there were where it was compiled.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    base = Path(home) if home else Path.home() / ".cache"
    kind = hashlib.sha256((processor() + instructions()).encode()).hexdigest()[:12]
    return base / "jaxmeta" / f"jax-{jax.__version__}-{kind}"
