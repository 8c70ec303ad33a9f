"""The interface of a physics engine: one step on plain arrays, with overrides of the model."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxmeta.env import Array

# Arrays that replace those of the model, by MuJoCo's names, for one robot.
Fields = Mapping[str, Array]


NO_FIELDS: Fields = MappingProxyType({})


# One step of an engine: (qpos, qvel, warmstart, ctrl, fields) -> (qpos, qvel, warmstart, torso)
# and, if enabled, forces.
Advance = Callable[[Array, Array, Array, Array, Fields], tuple[Array, ...]]
