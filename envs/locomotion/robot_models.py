"""The robots: MuJoCo models of our own, with the numbers of the published ones."""

from importlib import resources

ANT = "ant"
HALF_CHEETAH = "half_cheetah"
HUMANOID = "humanoid"
WALKER = "walker"


def xml(robot: str) -> str:
    """Return a robot's model as MJCF."""
    return (resources.files(__package__) / f"{robot}.xml").read_text(encoding="utf-8")
