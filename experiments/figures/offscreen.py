"""Offscreen rendering of a MuJoCo model."""

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


class CameraFrame(NamedTuple):
    """The state of a model in one frame."""

    qpos: list[float]
    markers: list[tuple[float, float, float]]  # red balls, metres


def choose_gl_backend() -> str:
    """Select the first of MuJoCo's GL backends that works here; return its name.

    It must be called before MuJoCo's first import. MUJOCO_GL, if set, is not changed.

    Raises:
      ConfigError: none works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    for name in [chosen] if chosen else LIBRARIES:
        if works(name):
            os.environ["MUJOCO_GL"] = name
            return name
    if chosen:
        raise ConfigError(f"MUJOCO_GL = {chosen!r}: does not work here; unset, others are tried")
    needed = ", or ".join(f"{packages} ({name})" for name, packages in LIBRARIES.items())
    raise ConfigError(f"video: no library draws without a screen here; install {needed}")


def works(name: str) -> bool:
    """Whether MuJoCo can render with a backend; tried in a separate process."""
    tried = [sys.executable, "-c", TRY]
    environment = os.environ | {"MUJOCO_GL": name}
    return subprocess.run(tried, env=environment, capture_output=True).returncode == 0


def render_frames(
    xml: str, camera_frames: Iterator[CameraFrame], width: int, height: int
) -> Iterator:
    """Yield RGB images [height, width, 3] of a model, the camera tracking its first body."""
    import mujoco
    from mujoco import mjtBuiltin, mjtTexture

    spec = mujoco.MjSpec.from_string(xml)
    floor = next(geom for geom in spec.geoms if geom.type == mujoco.mjtGeom.mjGEOM_PLANE)
    # Tiles show that it moves.
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
        for frame in camera_frames:
            data.qpos = frame.qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            for marker in frame.markers:
                scene = renderer.scene
                mujoco.mjv_initGeom(
                    scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_SPHERE,
                    [0.15, 0, 0], list(marker), [1, 0, 0, 0, 1, 0, 0, 0, 1], [0.85, 0.2, 0.1, 0.9],
                )  # fmt: skip
                scene.ngeom += 1
            yield renderer.render()
