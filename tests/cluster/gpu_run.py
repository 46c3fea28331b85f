"""Scores tables on a cluster whose workers pretend to have GPUs, in one session. Prints one line of JSON. Arguments: the
master, the shared folder, the page's code that starts a session."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import gpu_nets
import pretended_gpus

from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session.slot_count import find_slots
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature, SlotPolicy


def task(seconds_per_row: float) -> MlTask:
    return MlTask(
        name="sign",
        input="source",
        model=ModelSpec(factory="gpu_nets:slow", arguments={"seconds_per_row": seconds_per_row}),
        features=[NumericFeature(columns=["a", "b"])],
        labels=["minus", "plus"],
        batch=BatchPolicy(batch_size=100),
    )


def wait_for_executors(spark, count: int) -> None:
    """A cluster that has just started gives them one by one."""
    until = time.monotonic() + 120
    while spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1 < count:
        assert time.monotonic() < until
        time.sleep(0.1)


def tasks_at_once(spark, count: int) -> int:
    """How many tasks of a job that needs no GPU run at the same time."""

    def wait(_number):
        began = time.time()
        time.sleep(2)
        return began, time.time()

    spans = spark.sparkContext.parallelize(range(count), count).map(wait).collect()
    return max(sum(one[0] <= began < one[1] for one in spans) for began, _ in spans)


def main(master: str, shared: Path, page: str) -> None:
    scope: dict[str, Any] = {}
    exec(page.replace("spark://host:7077", master), scope)
    spark = scope["spark"]
    for module in (gpu_nets, pretended_gpus):
        spark.sparkContext.addPyFile(module.__file__)
    wait_for_executors(spark, 2)
    slots = SlotPolicy(models_per_gpu=2)
    said = {"slots": str(find_slots(spark, slots)), "cpu": find_slots(spark, SlotPolicy(device="cpu")).slots}

    def score(source: str, out: str, seconds_per_row: float, dead: str = ""):
        notes = shared / f"{out}.notes"
        notes.mkdir()
        loader = gpu_nets.NotingLoader(shared, notes=str(notes), dead=dead)
        return score_table(
            spark, str(shared / source), task(seconds_per_row), output_table=str(shared / out), model_loader=loader, slots=slots
        )  # fmt: skip

    score("small", "warm", 0.0001)  # every worker has imported torch after this
    report = score("source", "balanced", 0.002)
    said |= {"balance": report.balance, "rows": report.rows_table, "tasks": tasks_at_once(spark, 24)}
    score("few", "few_scored", 0.002)
    score("source", "failing", 0.0005, str(shared / "dead"))
    spark.stop()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
