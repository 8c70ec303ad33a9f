"""Writing each member's rows to its own run's directory."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmeta.config.run import Run
from jaxmeta.rundir.layout import MANIFEST, PROGRAM_KEY, write_atomically
from jaxmeta.rundir.manifest import continued, now
from jaxmeta.rundir.reading import read_manifest
from jaxmeta.rundir.run_writer import RunWriter

Row = dict[str, Any]


class SweepWriter:
    """Does for a program what RunWriter does for a run; member m is run m // S's seed m % S.

    Args:
      path: the program's directory, held by `locked`.
      runs: its runs, by their directories; all have S seeds.
      tasks: the evaluation tasks' description.
      facts: `manifest.describe`'s, of this process.
      resumed: None for a new program; else an entry of `resumed_from`.
      sizes: what `sizes` returned when the checkpoint was written, on resuming.

    Raises:
      ConfigError, CheckpointError: as RunWriter.
    """

    def __init__(
        self,
        path: Path,
        runs: Mapping[Path, Run],
        tasks: list[dict],
        facts: Mapping[str, Any],
        resumed: Mapping[str, Any] | None = None,
        sizes: Sequence[Mapping[str, int]] | None = None,
    ):
        self.path = path
        (self.seeds,) = {run.seeds for run in runs.values()}
        self.manifest = continued(read_manifest(path), facts, resumed, bool(sizes))
        facts = {**facts, PROGRAM_KEY: path.name}
        self.writers = []
        for i, (folder, run) in enumerate(runs.items()):
            folder.mkdir(parents=True, exist_ok=True)
            kept = [sizes[i]] if sizes else None
            self.writers.append(RunWriter(run, folder, tasks, facts, resumed, kept))
        self.update_manifest(status="running")

    def metrics(self, row: Row) -> None:
        """Append a member's line to its run's metrics.jsonl."""
        run, seed = divmod(row["seed"], self.seeds)
        rate = round(row["frames_per_s"] / len(self.writers), 1)  # this run's share
        self.writers[run].metrics(row | {"seed": seed, "frames_per_s": rate})

    def evaluation(self, rows: list[tuple]) -> None:
        """Append members' rows to their runs' evaluation.csv."""
        by_run: list[list[tuple]] = [[] for _ in self.writers]
        for frames, member, *rest in rows:
            run, seed = divmod(member, self.seeds)
            by_run[run].append((frames, seed, *rest))
        for writer, own in zip(self.writers, by_run, strict=True):
            writer.evaluation(own)

    def sizes(self) -> list[dict[str, int]]:
        """Bring all rows to the disk and return the files' bytes, run by run."""
        return [size for writer in self.writers for size in writer.sizes()]

    def update_manifest(self, **facts: Any) -> None:
        """Write the program's manifest with some entries changed."""
        self.manifest |= facts
        write_atomically(self.path / MANIFEST, json.dumps(self.manifest, indent=1) + "\n")
        for i, writer in enumerate(self.writers):
            if "dead_seeds" in facts:
                own = {
                    str(int(member) % self.seeds): death
                    for member, death in facts["dead_seeds"].items()
                    if int(member) // self.seeds == i
                }
                writer.update_manifest(dead_seeds=own)

    def nan_report(self, member: int, report: Mapping[str, Any]) -> None:
        """Write what is known of a member that became non-finite beside its run."""
        run, seed = divmod(member, self.seeds)
        self.writers[run].nan_report(seed, report)

    def close(self, state: str, **facts: Any) -> None:
        """Write the last status everywhere; a run whose seeds all are dead has failed."""
        own = {k: v for k, v in facts.items() if k != "saved"}  # that is about our checkpoints
        for writer in self.writers:
            all_dead = len(writer.manifest.get("dead_seeds", {})) == self.seeds
            writer.close("failed" if all_dead and state == "finished" else state, **own)
        self.update_manifest(status=state, ended=now(), **facts)
