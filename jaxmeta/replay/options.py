"""What off-policy methods remember."""

from jaxmeta.config.fields import count, section, setting
from jaxmeta.config.run import ReplayBound, Run


@section("replay")
class Replay:
    """What off-policy methods remember of the tasks they trained on."""

    tasks: int = setting(
        100,
        "training tasks, drawn once or all there are; workers meet them again and again",
        low=1,
        high=2_000,
    )
    mebibytes: int = count(1024, "room for trials, per seed; less where the run is shorter")
    initial: int = count(20_000, "transitions collected before anything learns", low=0)
    encoded: int = count(65_536, "transitions per update whose beliefs are computed for SAC")

    def replay_bound(self, run: Run) -> ReplayBound:
        """Return what bounds the replay of a seed."""
        return ReplayBound("replay.mebibytes", self.mebibytes, 2**20)
