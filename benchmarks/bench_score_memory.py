"""Is a worker's memory flat, however large its file's row groups? `make bench-score-memory`.

One file, one row group of 1x, 4x and 16x 250,000 rows (16 floats and a string id), scored by the worker's own code in a
fresh process without Spark. Peak resident memory is the process's own (`ru_maxrss`), beside what it has before it starts.
Ends with one JSON line.
"""

import json
import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

BASE_ROWS = 250_000


def score(root: str, pipe: Any) -> None:
    """Score the one shard; send peak memory before and after, in MB."""
    sys.path.insert(0, str(Path(__file__).parent))
    import torch
    from bench_score import BATCH_ROWS, TASK

    from sparktorch_assets.lake.plan import make_plan
    from sparktorch_assets.lake.table import Table
    from sparktorch_assets.predict.loader import ModelLoader
    from sparktorch_assets.predict.schema import output_schema
    from sparktorch_assets.spark.score.job.worker import ScoreJob, pack, score_pack
    from sparktorch_assets.tasks import SlotPolicy
    from sparktorch_assets.tasks.digest import files_digest

    torch.set_num_threads(1)
    source, target = f"{root}/source", f"{root}/target"
    Path(target).mkdir()
    table = Table(source)
    columns = table.schema
    schema = output_schema(TASK, columns)
    plan = make_plan(table, Table(target), schema=schema, digest="bench")
    job = ScoreJob(
        task=TASK,
        model_loader=ModelLoader(root, device="cpu"),
        slots=SlotPolicy(device="cpu"),
        batch_size=BATCH_ROWS,
        concurrent_slots=2,
        output_table=target,
        read_schema=columns,
        schema=plan.part_schema,
        files_digest=files_digest(TASK, Path(root)),
        code={},
        packs=(pack(plan.new),),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results = list(score_pack(job, 0))
    assert sum(result.receipt.tally.predicted for result in results) == plan.rows
    pipe.send((before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def make_source(folder: Path, rows: int) -> None:
    """One file with one row group."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {"id": [f"row-{row:012}" for row in range(rows)]}
    columns |= {f"f{number}": rng.random(rows, dtype=np.float32) for number in range(16)}
    pq.write_table(pa.table(columns), folder / "one.parquet", use_dictionary=False, row_group_size=rows)


def main() -> None:
    """Measure the three sizes."""
    context = multiprocessing.get_context("spawn")
    results = []
    print(f"{'row group':>12}{'file MB':>9}{'before MB':>11}{'peak MB':>9}")
    for factor in (1, 4, 16):
        with tempfile.TemporaryDirectory() as root:
            maker = context.Process(target=make_source, args=(Path(root) / "source", factor * BASE_ROWS))
            maker.start()
            maker.join()
            size_mb = (Path(root) / "source" / "one.parquet").stat().st_size / 1e6
            mine, theirs = context.Pipe()
            process = context.Process(target=score, args=(root, theirs))
            process.start()
            before, peak = mine.recv()
            process.join()
        print(f"{factor * BASE_ROWS:>12,}{size_mb:>9,.0f}{before:>11,.0f}{peak:>9,.0f}", flush=True)
        results.append({"rows": factor * BASE_ROWS, "before_mb": round(before), "peak_mb": round(peak)})
    print(json.dumps({"benchmark": "score_memory", "results": results}))


if __name__ == "__main__":
    main()
