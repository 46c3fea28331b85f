"""Do planning and committing grow no faster than their shards? `make bench-plan`.

Synthetic: files of 10 one-row row groups, each a shard of its own, so that what is measured is listing, footers,
fingerprints and the Delta log, not rows. Parts are empty files of the right size. Ends with one JSON line.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.table import Table

COLUMNS = [f"f{number}" for number in range(16)]
GROUPS = 10
SCHEMA = pa.schema([("id", pa.string()), *((name, pa.float32()) for name in COLUMNS)])
STATS = json.dumps(
    {
        "numRecords": 1,
        "minValues": {"id": "row", **dict.fromkeys(COLUMNS, 0.5)},
        "maxValues": {"id": "row", **dict.fromkeys(COLUMNS, 0.5)},
        "nullCount": dict.fromkeys(SCHEMA.names, 0),
    }
)


def make_source(folder: Path, files: int) -> None:
    """`files` copies of one small file."""
    folder.mkdir()
    rows = pa.table({"id": ["row"] * GROUPS, **{name: pa.array([0.5] * GROUPS, pa.float32()) for name in COLUMNS}})
    pq.write_table(rows, folder / "00000.parquet", row_group_size=1)
    content = (folder / "00000.parquet").read_bytes()
    for number in range(1, files):
        (folder / f"{number:05}.parquet").write_bytes(content)


def measure(shards: int) -> dict[str, float]:
    """Seconds of planning (first, and with footers known), of committing all parts, and of planning with nothing new."""
    with tempfile.TemporaryDirectory() as root:
        source, target = Path(root) / "source", Path(root) / "target"
        make_source(source, shards // GROUPS)
        seconds = {}

        def plan(name: str) -> tuple[str, ...]:
            started = time.perf_counter()
            found = make_plan(Table(str(source)), Table(str(target)), schema=SCHEMA, digest="bench", target_rows=1)
            seconds[name] = time.perf_counter() - started
            return tuple(shard.part_path for shard in found.new)

        parts = plan("plan_s")
        assert len(parts) == shards
        plan("plan_again_s")
        target.mkdir()
        for path in parts:
            (target / path).touch()
        add = [PartFile(path=path, size_bytes=0, modified_ms=0, rows=1, stats=STATS, partition=()) for path in parts]
        started = time.perf_counter()
        commit_parts(str(target), SCHEMA, add=add, remove=[], metadata={}, read_version=None)
        seconds["commit_s"] = time.perf_counter() - started
        assert plan("plan_nothing_new_s") == ()
        return seconds


def main() -> None:
    """Measure growing numbers of shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    results = []
    for shards in parser.parse_args().shards:
        seconds = measure(shards)
        results.append({"shards": shards} | {name: round(value, 3) for name, value in seconds.items()})
        figures = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
        print(f"{shards:>9,} shards: {figures}", flush=True)
    print(json.dumps({"benchmark": "plan", "results": results}))


if __name__ == "__main__":
    main()
