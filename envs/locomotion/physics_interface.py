"""What a physics engine is to a robot: one step on plain arrays, and numbers of the model."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxmeta.env import Array

# Numbers of the model in place of its own, by MuJoCo's names, for one robot.
Fields = Mapping[str, Array]


NO_FIELDS: Fields = MappingProxyType({})


# One step of an engine: (qpos, qvel, warmstart, ctrl, fields) -> (qpos, qvel, warmstart, torso)
# and, where asked for, forces.
Advance = Callable[[Array, Array, Array, Array, Fields], tuple[Array, ...]]
