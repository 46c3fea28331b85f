"""What do page checksums and bringing parts to disk cost a refresh? `make bench-durability`.

The worst case: a small network over a wide table of floats, where a refresh is little more than reading and writing. One
slot of the real worker, in this process, over 16 floats and a string id (`bench_score.py`'s source and task). Each way runs
in turn, `--repeats` times, into an empty folder; shown are medians of the ratios to the way without any of it, of wall
seconds and of CPU seconds. Ends with one JSON line.
"""

import argparse
import contextlib
import functools
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
from bench_score import TASK, make_source

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.job.worker import ScoreJob, pack, score_pack
from sparktorch_assets.spark.score.plan.planned import Selection, plan_refresh
from sparktorch_assets.tasks import SlotPolicy

WAYS: dict[str, tuple[bool, bool, bool]] = {
    "none": (False, False, False),
    "checksums written": (True, False, False),
    "checksums verified": (True, True, False),
    "parts on disk": (False, False, True),
    "all": (True, True, True),
}
"""Whether checksums are written, whether they are verified, and whether parts are brought to disk."""


def without(function: Any, **forced: Any) -> Any:
    """The function with some arguments as they are here, whatever the caller says."""
    return functools.wraps(function)(lambda *args, **given: function(*args, **{**given, **forced}))


def refresh(source: Path, target: Path, way: tuple[bool, bool, bool]) -> tuple[float, float]:
    """Score all of the source; wall and CPU seconds."""
    written, verified, on_disk = way
    loader = ModelLoader(source.parent)
    planned = plan_refresh(str(source), TASK, lambda _: [Selection()], output_table=str(target), model_loader=loader)
    job = ScoreJob(
        task=planned.task,
        model_loader=loader,
        slots=SlotPolicy(device="cpu"),
        batch_size=8192,
        concurrent_slots=1,
        output_table=str(target),
        read_schema=planned.read_schema,
        schema=planned.plans[0].part_schema,
        files_digest=planned.files_digest,
        code=planned.code,
        packs=(pack(planned.plans[0].new),),
    )
    Folder(str(target)).create()
    with contextlib.ExitStack() as patches:
        if not written:
            patches.enter_context(
                mock.patch.object(pq, "ParquetWriter", without(pq.ParquetWriter, write_page_checksum=False))
            )
        if not verified:
            patches.enter_context(
                mock.patch.object(pq, "ParquetFile", without(pq.ParquetFile, page_checksum_verification=False))
            )
        if not on_disk:
            patches.enter_context(mock.patch.object(os, "fsync", return_value=None))
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in score_pack(job, 0):
            pass
        return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        make_source(source, options.rows)
        for file in sorted(source.iterdir()):
            pq.write_table(pq.read_table(file), file, use_dictionary=False, write_page_checksum=True)
        for repeat in range(options.repeats + 1):
            for way in random.sample(list(WAYS), len(WAYS)):
                with tempfile.TemporaryDirectory(dir=folder) as target:
                    seconds = refresh(source, Path(target) / "table", WAYS[way])
                if repeat:  # the first round warms up
                    found[way].append(seconds)
    print(f"{'way':<20}{'wall s':>9}{'ratio':>8}{'CPU s':>9}{'ratio':>8}")
    results = []
    for way, seconds in found.items():
        wall, cpu = (statistics.median(pair[kind] for pair in seconds) for kind in (0, 1))
        ratios = [
            statistics.median(one[kind] / base[kind] for one, base in zip(seconds, found["none"], strict=True))
            for kind in (0, 1)
        ]
        print(f"{way:<20}{wall:>9.3f}{ratios[0]:>8.3f}{cpu:>9.3f}{ratios[1]:>8.3f}")
        results.append({"way": way, "wall_s": wall, "wall_ratio": ratios[0], "cpu_s": cpu, "cpu_ratio": ratios[1]})
    print(json.dumps({"benchmark": "durability", "rows": options.rows, "results": results}))


if __name__ == "__main__":
    main()
