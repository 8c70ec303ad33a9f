"""Parameters on disk, through orbax."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxmeta.agent import Params
from jaxmeta.errors import ConfigError

PARAMS = "params"


def save_params(folder: Path, update: int, params: Params) -> None:
    """Store all seeds' parameters under the number of updates they had."""
    with ocp.CheckpointManager(folder.absolute()) as manager:
        manager.save(update, args=ocp.args.Composite(**{PARAMS: ocp.args.StandardSave(params)}))
        manager.wait_until_finished()


def load_params(folder: Path, like: Any) -> Params:
    """Return the newest parameters, shaped as `like` (arrays or shapes).

    Raises:
      ConfigError: there are none.
    """
    if not folder.is_dir():  # orbax would make it
        raise ConfigError(f"{folder}: holds no checkpoint")
    with ocp.CheckpointManager(folder.absolute()) as manager:
        newest = manager.latest_step()
        if newest is None:
            raise ConfigError(f"{folder}: holds no checkpoint")
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), like)
        restore = ocp.args.Composite(**{PARAMS: ocp.args.StandardRestore(like)})
        return manager.restore(newest, args=restore)[PARAMS]
