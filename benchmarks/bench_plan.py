"""What do planning and committing cost the driver, for 10,000 shards and for 1,000,000? `make bench-plan`.

Synthetic: the input's files are hard links to a few small ones, with one-row row groups that are a shard each, and the
output's parts are links to one part that the library has written. So what is measured is listing, footers,
fingerprints, messages and the Delta log, as large as for 100 TB, but no rows. Spark is left out: what it would
carry to the workers and back is made here, and measured as bytes.

Each number of shards takes two processes, as in a real table: one for the first refresh (plan, deal, send, results,
commit), and one for a refresh with nothing to do. Beside each step's seconds is the process's peak memory during that step
(`VmHWM`, which is reset before it). `--profile` names the function in which each step spends most of its time;
it makes the steps slower. Ends with one JSON line.
"""

import argparse
import cProfile
import json
import multiprocessing
import os
import pstats
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SLOTS = 100
COLUMNS = [f"f{number}" for number in range(16)]
INPUT = pa.schema([("id", pa.string()), *((name, pa.float32()) for name in COLUMNS)])
OUTPUT = pa.schema(
    [("id", pa.string()), ("prediction", pa.string()), ("confidence", pa.float32()), ("prediction_error", pa.string())]
)
LINKS = 50_000
"""ext4 allows 65,000 links to a file."""


class Steps:
    """Measures steps of this process one by one."""

    def __init__(self, pipe: Any, *, profile: bool) -> None:
        self._pipe, self._profile = pipe, profile
        self.found: dict[str, dict[str, Any]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Measure what is done in this context; figures of the step's own may be added to what it yields."""
        Path("/proc/self/clear_refs").write_text("5")
        profiler = cProfile.Profile() if self._profile else None
        figures: dict[str, Any] = {}
        started, cpu = time.perf_counter(), time.process_time()
        if profiler:
            profiler.enable()
        yield figures
        if profiler:
            profiler.disable()
            figures["most_time_in"] = _longest(profiler)
        figures |= {
            "s": round(time.perf_counter() - started, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "peak_mb": _peak_mb(),
        }
        self._pipe.send((name, figures))


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _longest(profiler: cProfile.Profile) -> list[str]:
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    ranked = sorted(stats.items(), key=lambda item: -item[1][2])[:6]
    return [f"{Path(file).name}:{name} {own:.1f} s" for (file, _, name), (_, _, own, _, _) in ranked]


def link_all(template: Path, paths: Sequence[Path]) -> None:
    """Make the paths links to copies of one file."""
    for start in range(0, len(paths), LINKS):
        shutil.copy(template, paths[start])
        for path in paths[start + 1 : start + LINKS]:
            os.link(paths[start], path)


def make_source(folder: Path, shards: int, groups: int) -> None:
    """Files with so many row groups each."""
    folder.mkdir()
    columns = {name: pa.array([0.5] * groups, pa.float32()) for name in COLUMNS}
    template = folder.parent / "template.parquet"
    pq.write_table(pa.table({"id": ["row"] * groups, **columns}), template, row_group_size=1)
    link_all(template, [folder / f"{number:07}.parquet" for number in range(shards // groups)])


def plan_of(root: str) -> Any:
    """The plan, as `score_table` makes it: with the footers that an earlier run kept."""
    from sparktorch_assets.lake.parquet.kept.kept_footers import KeptFooters
    from sparktorch_assets.lake.plan import make_plan
    from sparktorch_assets.lake.table import Table

    source, target = Table(f"{root}/source"), Table(f"{root}/target")
    kept = KeptFooters(target.folder, bounds=False)
    kept.recall(source.files)
    return make_plan(source, target, schema=OUTPUT, digest="bench", target_rows=1), kept, source


def with_other_seconds(tally: Any) -> Any:
    """No two parts of a real table have the same receipt, and what differs is what cannot be compressed."""
    return replace(
        tally,
        confidence_sum=random.random(),
        seconds={phase: random.random() for phase in tally.seconds},
        batch_sizes={"8192": random.randrange(99), str(random.randrange(8192)): 1},
    )


def written_part(root: str, shard: Any) -> tuple[Any, Any]:
    """One part with a receipt as a classification of four classes leaves it."""
    from sparktorch_assets.lake.files.folder import Folder
    from sparktorch_assets.lake.parts.writer import PartWriter
    from sparktorch_assets.tally import Tally

    histogram = [0] * 19 + [1]
    phases = ["load", "read", "encode", "forward", "decode", "hooks", "write"]
    tally = Tally(
        rows=1,
        predicted=1,
        classes={"a": 1},
        confidence_sum=0.98,
        confidence_histogram=histogram,
        seconds=dict.fromkeys(phases, 0.0123456789),
        devices={"cpu": 1},
        batch_sizes={"8192": 61},
    )
    writer = PartWriter(Folder(f"{root}/target"), shard.fingerprint, OUTPUT)
    writer.write(
        pa.RecordBatch.from_pydict(
            {"id": ["row"], "prediction": ["a"], "confidence": [0.98], "prediction_error": [None]}, OUTPUT
        )
    )
    return writer.finish(tally)


def first_refresh(root: str, shards: int, pipe: Any, profile: bool) -> None:
    """The steps of a refresh in which everything is new."""
    from pyspark.serializers import CloudPickleSerializer

    from sparktorch_assets.lake.commit_plan import commit_plan
    from sparktorch_assets.spark.score.job.packs import deal
    from sparktorch_assets.spark.score.job.result_rows import packed_rows
    from sparktorch_assets.spark.score.job.run import RunResult, take_in
    from sparktorch_assets.spark.score.job.worker import ShardResult, pack

    steps = Steps(pipe, profile=profile)
    with steps.step("plan"):
        plan, kept, source = plan_of(root)
    assert len(plan.new) == shards
    with steps.step("deal"):
        packs = deal(plan.new, SLOTS)
    with steps.step("send") as figures:
        figures["bytes"] = len(CloudPickleSerializer().dumps(tuple(pack(found) for found in packs)))
    del packs
    part, receipt = written_part(root, plan.new[0])
    template = Path(root) / "target" / part.path
    link_all(template, [Path(root) / "target" / shard.part_path for shard in plan.new[1:]])

    def results() -> Iterator[str]:
        for shard in plan.new:
            found = replace(receipt, fingerprint=shard.fingerprint, tally=with_other_seconds(receipt.tally))
            own = replace(part, path=shard.part_path)
            yield ShardResult(part=own, receipt=found, slot="host-1:4711", busy_s=random.random()).to_json()

    rows = list(packed_rows(results()))
    with steps.step("results") as figures:
        figures["bytes"] = sum(map(len, rows))
        result = RunResult()
        take_in(result, [{"result": row} for row in rows])
    del rows
    with steps.step("commit"):
        commit_plan(plan, result.parts, lambda _: None, {})
    with steps.step("keep footers"):
        kept.keep(source.files)


def nothing_new(root: str, shards: int, pipe: Any, profile: bool) -> None:
    """A refresh that finds everything as it was."""
    from sparktorch_assets.lake.table_tally import table_tally

    steps = Steps(pipe, profile=profile)
    with steps.step("nothing new"):
        plan, kept, source = plan_of(root)
        assert not plan.changes
        assert table_tally(plan.table).rows == shards
        kept.keep(source.files)


def in_process(target: Callable[..., None], *given: Any) -> dict[str, dict[str, Any]]:
    """Run the steps in a process of their own."""
    mine, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=target, args=(*given[:2], theirs, *given[2:]))
    process.start()
    theirs.close()
    found = {}
    try:
        while True:
            name, figures = mine.recv()
            found[name] = figures
            print(
                f"{given[1]:>9,} shards, {name:<14}" + ", ".join(f"{key} {value}" for key, value in figures.items()),
                flush=True,
            )
    except EOFError:
        process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    return found


def main() -> None:
    """Measure growing numbers of shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--groups", type=int, default=10, help="row groups per file of the input")
    parser.add_argument("--folder", help="where the files are made; a temporary folder by default")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.folder:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    results = []
    for shards in options.shards:
        with tempfile.TemporaryDirectory(dir=options.folder) as root:
            make_source(Path(root) / "source", shards, options.groups)
            (Path(root) / "target").mkdir()
            found = in_process(first_refresh, root, shards, options.profile)
            found |= in_process(nothing_new, root, shards, options.profile)
        results.append({"shards": shards, "files": shards // options.groups, "steps": found})
    print(json.dumps({"benchmark": "plan", "results": results}))


if __name__ == "__main__":
    main()
