"""Options of off-policy methods' replay buffers."""

from jaxmeta.config.option_fields import count, section, setting
from jaxmeta.config.run import ReplayBound, Run


@section("replay")
class Replay:
    """Off-policy methods' replay buffer, and the tasks whose trials it stores."""

    tasks: int = setting(
        100,
        "training tasks, drawn once (all, if there are no more); workers revisit them",
        low=1,
        high=2_000,
    )
    mebibytes: int = count(1024, "replay capacity per seed; less where the run is shorter")
    initial: int = count(20_000, "transitions collected before training begins", low=0)
    encoded: int = count(65_536, "transitions per update that are re-encoded for SAC")

    def replay_bound(self, run: Run) -> ReplayBound:
        """Return the field that bounds the replay of a seed."""
        return ReplayBound("replay.mebibytes", self.mebibytes, 2**20)
