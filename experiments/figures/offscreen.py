"""Pictures of a MuJoCo model without a screen."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from jaxmeta.errors import ConfigError

# In the order in which they are tried, with the Debian packages that each needs.
LIBRARIES = {"egl": "libegl1 and libgl1-mesa-dri", "osmesa": "libosmesa6"}
TRY = (
    "import mujoco; m = mujoco.MjModel.from_xml_string('<mujoco/>'); "
    "r = mujoco.Renderer(m, 8, 8); r.update_scene(mujoco.MjData(m)); r.render()"
)


class Look(NamedTuple):
    """What the camera sees of a model in one moment."""

    qpos: list[float]
    markers: list[tuple[float, float, float]]  # red balls, metres


def choose_library() -> str:
    """Have MuJoCo draw with the first library that works here; return its name.

    It must come before MuJoCo's first import. MUJOCO_GL, where it is set, is left alone.

    Raises:
      ConfigError: none works.
    """
    asked = os.environ.get("MUJOCO_GL")
    for name in [asked] if asked else LIBRARIES:
        if works(name):
            os.environ["MUJOCO_GL"] = name
            return name
    if asked:
        raise ConfigError(f"MUJOCO_GL = {asked!r}: does not work here; unset, others are tried")
    needed = ", or ".join(f"{packages} ({name})" for name, packages in LIBRARIES.items())
    raise ConfigError(f"video: no library draws without a screen here; install {needed}")


def works(name: str) -> bool:
    """Whether MuJoCo can draw with a library; tried in a process of its own."""
    tried = [sys.executable, "-c", TRY]
    environment = os.environ | {"MUJOCO_GL": name}
    return subprocess.run(tried, env=environment, capture_output=True).returncode == 0


def pictures(xml: str, looks: Iterator[Look], width: int, height: int) -> Iterator:
    """Yield RGB pictures [height, width, 3] of a model, the camera beside its first body."""
    import mujoco
    from mujoco import mjtBuiltin, mjtTexture

    spec = mujoco.MjSpec.from_string(xml)
    floor = next(geom for geom in spec.geoms if geom.type == mujoco.mjtGeom.mjGEOM_PLANE)
    # Without tiles one would not see that it moves.
    spec.add_texture(
        name="tiles", type=mjtTexture.mjTEXTURE_2D, builtin=mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.75, 0.8, 0.85], rgb2=[0.6, 0.66, 0.72], width=256, height=256,
    )  # fmt: skip
    spec.add_texture(
        name="sky", type=mjtTexture.mjTEXTURE_SKYBOX, builtin=mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[1, 1, 1], rgb2=[0.7, 0.8, 0.9], width=64, height=384,
    )  # fmt: skip
    tiles = spec.add_material(name="tiles", texrepeat=[1, 1], texuniform=True)
    tiles.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "tiles"
    floor.material, floor.rgba = "tiles", [1, 1, 1, 1]
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    model = spec.compile()
    data = mujoco.MjData(model)
    camera = mujoco.MjvCamera()
    camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1
    camera.distance, camera.azimuth, camera.elevation = 4.0, 90.0, -20.0
    with mujoco.Renderer(model, height, width) as renderer:
        for look in looks:
            data.qpos = look.qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            for marker in look.markers:
                scene = renderer.scene
                mujoco.mjv_initGeom(
                    scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_SPHERE,
                    [0.15, 0, 0], list(marker), [1, 0, 0, 0, 1, 0, 0, 0, 1], [0.85, 0.2, 0.1, 0.9],
                )  # fmt: skip
                scene.ngeom += 1
            yield renderer.render()
