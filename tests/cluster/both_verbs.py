"""Scores one input with both verbs, in a process of its own: prints one line of JSON. Arguments: a master, or the address
of a Connect server; the shared folder; the name of the folder for what is written."""

import json
import sys
import time
from pathlib import Path

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session.slot_count import find_slots
from sparktorch_assets.spark.session.start import start_session
from sparktorch_assets.tasks import Hooks, MlTask, ModelSpec, NumericFeature, SlotPolicy

NETS = Path(__file__).with_name("cluster_nets.py")
SMALL = {"spark.driver.memory": "512m", "spark.executor.memory": "512m"}
PATIENCE_S = 120


def task(noted_in: Path, *, seconds_per_batch: float = 0.2) -> MlTask:
    arguments = {"noted_in": str(noted_in), "seconds_per_batch": seconds_per_batch}
    return MlTask(
        name="three",
        input="source",
        model=ModelSpec(factory="cluster_nets:linear", weights="seed.txt", trust_code=True, arguments=arguments),
        features=[NumericFeature(columns=["a", "b"])],
        labels=["x", "y", "z"],
        hooks=Hooks(row_postprocessor="cluster_nets:without_every_seventh"),
    )


def session(where: str):
    """A session there, with the module of networks on its workers."""
    sys.path.append(str(NETS.parent))
    if where.startswith("sc://"):
        spark = start_session(remote=where)
        spark.addArtifact(str(NETS), pyfile=True)
    else:
        spark = start_session(master=where, config=SMALL)
        spark.sparkContext.addPyFile(str(NETS))
    return spark


def wait_for_executors(spark, count: int) -> None:
    """Wait until this many executors have registered: a cluster that has just started gives them one by one."""
    until = time.monotonic() + PATIENCE_S
    while spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1 < count:
        assert time.monotonic() < until
        time.sleep(0.1)


def main(where: str, shared: Path, name: str) -> None:
    spark = session(where)
    if where.startswith("spark://"):
        wait_for_executors(spark, 2)
    out, loader, slots = shared / name, ModelLoader(shared / "models"), SlotPolicy(device="cpu")
    out.mkdir()
    report = score_table(
        spark,
        str(shared / "source"),
        task(out / "table.notes"),
        output_table=str(out / "table"),
        model_loader=loader,
        slots=slots,
    )
    frame = spark.read.parquet(str(shared / "source"))
    predicted = spark_ml_predict(spark, frame, task(out / "frame.notes"), model_loader=loader, slots=slots)
    found = sorted((row.asDict() for row in predicted.collect()), key=lambda row: row["id"])
    said = {
        "slots": str(find_slots(spark, slots)),
        "report": [report.shards_new, report.rows_table, report.slots],
        "frame": found,
        "master": spark.conf.get("spark.master"),
        "torch": "torch" in sys.modules,
    }
    spark.stop()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
