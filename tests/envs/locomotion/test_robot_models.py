"""The robots' models against the published numbers (compiled, as MuJoCo uses them)."""

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

from envs.locomotion.robot_models import ANT, HALF_CHEETAH, HUMANOID, WALKER, xml

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ant():
    return mujoco.MjModel.from_xml_string(xml(ANT))


@pytest.fixture(scope="module")
def cheetah():
    return mujoco.MjModel.from_xml_string(xml(HALF_CHEETAH))


def sizes(m):
    return m.nq, m.nv, m.nu, m.nbody, m.ngeom, m.njnt


def actuated(m):
    """Return the joints in the order of the actions."""
    return [m.joint(i).name for i in m.actuator_trnid[:, 0]]


def test_sizes(ant, cheetah):
    assert sizes(ant) == (15, 14, 8, 14, 14, 9)
    assert sizes(cheetah) == (9, 9, 6, 8, 9, 9)


def test_solvers(ant, cheetah):
    assert ant.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert cheetah.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    for m in (ant, cheetah):
        assert m.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON
        assert m.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
        assert (m.opt.iterations, m.opt.tolerance, m.opt.impratio) == (100, 1e-8, 1)
        assert m.opt.ls_iterations == 50
        assert (m.opt.timestep, m.opt.density, m.opt.viscosity) == (0.01, 0, 0)
        np.testing.assert_array_equal(m.opt.gravity, [0, 0, -9.81])
        assert m.opt.disableflags == 0 and m.opt.enableflags == 0
        assert m.nnumeric == 0


def test_masses(ant, cheetah):
    assert ant.body_mass.sum() == pytest.approx(0.9109, abs=5e-5)
    short, long = (5 * np.pi * 0.08**2 * (n * 0.08**0.5 + 4 / 3 * 0.08) for n in (1, 2))
    assert (short, long) == pytest.approx((0.0392, 0.0676), abs=5e-5)
    torso = 5 * 4 / 3 * np.pi * 0.25**3  # 0.32725
    np.testing.assert_allclose(ant.body_mass[1:], [torso, *[short, short, long] * 4])
    assert cheetah.body_mass.sum() == pytest.approx(14, abs=1e-9)
    # Torso with head; thigh, shin and foot behind; the same in front.
    want = [6.250, 1.544, 1.587, 1.095, 1.438, 1.201, 0.885]
    np.testing.assert_allclose(cheetah.body_mass[1:], want, atol=5e-4)


def test_actuators(ant, cheetah):
    legs = [f"{joint}_{leg}" for leg in (4, 1, 2, 3) for joint in ("hip", "ankle")]
    assert actuated(ant) == legs
    behind, before = (
        [f"{end}_{part}" for part in ("thigh", "shin", "foot")] for end in ("back", "front")
    )
    assert actuated(cheetah) == behind + before
    assert ant.actuator_gear[:, 0].tolist() == [150] * 8
    assert cheetah.actuator_gear[:, 0].tolist() == [120, 90, 60, 120, 60, 30]
    for m in (ant, cheetah):
        assert m.actuator_ctrllimited.all() and not m.actuator_gear[:, 1:].any()
        np.testing.assert_array_equal(m.actuator_ctrlrange, [[-1, 1]] * m.nu)
        np.testing.assert_array_equal(m.actuator_gainprm[:, 0], np.ones(m.nu))
        assert not m.actuator_biasprm.any() and m.na == 0


def test_joints(ant, cheetah):
    assert ant.dof_damping.tolist() == [0] * 6 + [1] * 8
    assert ant.dof_armature.tolist() == [0] * 6 + [1] * 8
    assert not ant.jnt_stiffness.any() and not ant.qpos_spring[7:].any()
    hip, up, down = (-30, 30), (30, 70), (-70, -30)
    want = [(0, 0), hip, up, hip, down, hip, down, hip, up]
    np.testing.assert_allclose(np.rad2deg(ant.jnt_range), want)
    assert ant.jnt_limited.tolist() == [0] + [1] * 8
    np.testing.assert_array_equal(ant.jnt_solref, [[0.02, 1]] * 9)
    np.testing.assert_array_equal(ant.jnt_solimp, [[0.9, 0.95, 0.001, 0.5, 2]] * 9)

    assert cheetah.dof_damping.tolist() == [0, 0, 0, 6, 4.5, 3, 4.5, 3, 1.5]
    assert cheetah.dof_armature.tolist() == [0] * 3 + [0.1] * 6
    assert cheetah.jnt_stiffness.tolist() == [0, 0, 0, 240, 180, 120, 180, 120, 60]
    behind, before = [(-0.52, 1.05), (-0.785, 0.785), (-0.4, 0.785)], [(-1, 0.7), (-1.2, 0.87)]
    want = [*[(0, 0)] * 3, *behind, *before, (-0.5, 0.5)]
    np.testing.assert_allclose(cheetah.jnt_range, want)
    assert cheetah.jnt_limited.tolist() == [0] * 3 + [1] * 6
    np.testing.assert_array_equal(cheetah.jnt_solref, [[0.02, 1]] * 9)
    np.testing.assert_array_equal(cheetah.jnt_solimp[:, :3], [[0, 0.8, 0.03]] * 9)


def test_axes(ant, cheetah):
    diagonal = 0.5**0.5
    for leg, x in enumerate((-1, 1, -1, 1), start=1):
        np.testing.assert_allclose(ant.joint(f"hip_{leg}").axis, [0, 0, 1])
        np.testing.assert_allclose(ant.joint(f"ankle_{leg}").axis, [x * diagonal, diagonal, 0])
    assert ant.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    assert cheetah.jnt_type.tolist() == [2, 2] + [3] * 7  # slides, then hinges
    np.testing.assert_array_equal(cheetah.jnt_axis, [[1, 0, 0], [0, 0, 1], *[[0, 1, 0]] * 7])
    assert not cheetah.jnt_pos.any() and not ant.jnt_pos.any()


def test_contacts(ant, cheetah):
    np.testing.assert_array_equal(ant.geom_friction, [[1, 0.5, 0.5]] * 14)
    np.testing.assert_array_equal(ant.geom_solref, [[0.02, 1]] * 14)
    np.testing.assert_array_equal(ant.geom_solimp, [[0.9, 0.95, 0.001, 0.5, 2]] * 14)
    # The sum of two geoms' margins counts now, the larger one did: 0.01 either way.
    assert ant.geom_margin.tolist() == [0] + [0.01] * 13
    np.testing.assert_array_equal(cheetah.geom_friction, [[0.4, 0.1, 0.1]] * 9)
    np.testing.assert_array_equal(cheetah.geom_solref, [[0.02, 1]] * 9)
    np.testing.assert_array_equal(cheetah.geom_solimp[:, :3], [[0, 0.8, 0.01]] * 9)
    assert not cheetah.geom_margin.any()
    for m in (ant, cheetah):
        assert (m.geom_condim == 3).all() and not m.geom_gap.any()
        floor, body = m.geom("floor").id, np.arange(1, m.ngeom)
        assert floor == 0 and m.geom_type[floor] == mujoco.mjtGeom.mjGEOM_PLANE
        np.testing.assert_array_equal(m.geom_size[floor, :2], [40, 40])
        # No self-collision: what a body part may touch is the floor.
        assert m.geom_contype[floor] == m.geom_conaffinity[floor] == 1
        assert (m.geom_contype[body] == 1).all() and not m.geom_conaffinity[body].any()


def test_resting_positions(ant, cheetah):
    assert ant.qpos0.tolist() == [0, 0, 0.75, 1] + [0] * 11
    assert not cheetah.qpos0.any()
    assert cheetah.body("torso").pos.tolist() == [0, 0, 0.7]
    assert ant.body(1).name == cheetah.body(1).name == "torso"
    lower = ant.jnt_range[[2, 4, 6, 8]]
    assert ((lower[:, 0] > 0) | (lower[:, 1] < 0)).all()  # ankles begin outside their limits


def test_shapes(ant, cheetah):
    """Where every capsule ends, and how thick it is."""
    assert ant.geom("torso").size[0] == 0.25
    np.testing.assert_array_equal(ant.geom_size[2:, 0], [0.08] * 12)
    diagonal = 0.2 * 2**0.5
    np.testing.assert_allclose(2 * ant.geom_size[2:, 1], [diagonal, diagonal, 2 * diagonal] * 4)
    for leg, (x, y) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)], start=1):
        for part in ("thigh", "shin"):
            np.testing.assert_allclose(ant.body(f"{part}_{leg}").pos, [0.2 * x, 0.2 * y, 0])
    np.testing.assert_array_equal(cheetah.geom_size[1:, 0], [0.046] * 8)
    half = [0.5, 0.15, 0.145, 0.15, 0.094, 0.133, 0.106, 0.07]
    np.testing.assert_allclose(cheetah.geom_size[1:, 1], half)


def test_the_ant_comes_to_rest_at_the_height_it_always_had(ant):
    """With margins added up it would be 0.382."""
    data = mujoco.MjData(ant)
    mujoco.mj_step(ant, data, 2000)
    assert data.qpos[2] == pytest.approx(0.372, abs=1e-3)


def ours_and_published(robot, name):
    """Return two models of a robot: ours, and the published one."""
    published = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / f"{name}.xml"
    ours = mujoco.MjModel.from_xml_string(xml(robot))
    return ours, mujoco.MjModel.from_xml_path(str(published))


def same_rollout(models):
    """Return the data of two models after 500 substeps of random controls, and all contacts."""
    rollouts = [mujoco.MjData(model) for model in models]
    rng, touching = np.random.default_rng(0), []
    for _ in range(500):
        u = rng.uniform(-1, 1, models[0].nu)
        for model, data in zip(models, rollouts, strict=True):
            data.ctrl = u
            mujoco.mj_step(model, data)
        touching += rollouts[0].contact.geom.tolist()
    return rollouts, touching


def test_the_walker_moves_as_the_published_one():
    """Bodies have other origins, so inertias and geoms are compared by what they do."""
    ours, theirs = ours_and_published(WALKER, "walker2d")
    assert sizes(ours) == sizes(theirs) == (9, 9, 6, 8, 8, 9)
    names = """qpos0 dof_damping dof_armature jnt_range jnt_limited geom_friction geom_condim
        geom_contype geom_conaffinity actuator_gear actuator_ctrlrange actuator_trnid"""
    for name in names.split():
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), err_msg=name)
    np.testing.assert_allclose(ours.body_mass, theirs.body_mass)
    rollouts, touching = same_rollout((ours, theirs))
    np.testing.assert_allclose(rollouts[0].qpos, rollouts[1].qpos, atol=1e-9)
    assert len(touching) > 100


def test_the_humanoid_moves_as_the_published_one():
    ours, theirs = ours_and_published(HUMANOID, "humanoid")
    assert sizes(ours) == sizes(theirs) == (24, 23, 17, 14, 18, 18)
    assert ours.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON
    # Margins are added up now, the larger one counted when the file was published.
    (margin,) = np.unique(theirs.geom_margin)
    np.testing.assert_array_equal(ours.geom_margin, margin / 2)
    # MJX has no PGS, so ours is on MuJoCo's own solver. All else is equal, so rollouts are.
    theirs.opt.solver, theirs.opt.iterations = ours.opt.solver, ours.opt.iterations
    theirs.geom_margin[:], theirs.body_margin[:] = ours.geom_margin, ours.body_margin
    rollouts, touching = same_rollout((ours, theirs))
    np.testing.assert_allclose(rollouts[0].qpos, rollouts[1].qpos, atol=1e-9)
    floor = [0 in pair for pair in touching]
    assert sum(floor) > 100 and len(floor) - sum(floor) > 100  # parts touch parts, too


def test_models_are_packed_into_the_wheel(monkeypatch):
    monkeypatch.chdir(ROOT)
    packed = Distribution()
    packed.parse_config_files()
    build = build_py(packed)
    build.finalize_options()
    build.manifest_files = {}  # beside what a manifest would name
    found = build.find_data_files("envs.locomotion", "envs/locomotion")
    assert {Path(name).name for name in found} == {
        f"{robot}.xml" for robot in (ANT, HALF_CHEETAH, HUMANOID, WALKER)
    }
