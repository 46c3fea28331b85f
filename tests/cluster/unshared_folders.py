"""Tries what cannot work on several hosts: folders that only look the same on each. Prints one line of JSON. Arguments: a
master; the shared folder."""

import json
import shutil
import sys
from pathlib import Path

from both_verbs import session, task, wait_for_executors

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import InputTable, SlotPolicy

OWN = Path("/tmp/own")


def main(master: str, shared: Path) -> None:
    spark = session(master)
    wait_for_executors(spark, 2)
    slots, source = SlotPolicy(device="cpu"), str(shared / "source")
    shutil.copytree(shared / "source", OWN / "source", dirs_exist_ok=True)
    shutil.copytree(shared / "models", OWN / "models", dirs_exist_ok=True)
    three = task(shared / "notes", seconds_per_batch=0)

    def score(source: str, output: Path, models: Path) -> None:
        loader = ModelLoader(models)
        score_table(spark, source, three, output_table=str(output), model_loader=loader, slots=slots)

    def score_frame() -> None:
        loader, frame = ModelLoader(shared / "models"), spark.read.parquet(source)
        score_dataframe(spark, frame, three, output_table=str(OWN / "frame"), model_loader=loader, slots=slots)

    def materialize() -> None:
        table = InputTable(name="things", source=f"{source}/*", format="parquet", columns={"id": "long", "a": "double"})
        materialize_input(spark, table, project_root=shared, table_uri=str(OWN / "things"))

    attempts = {
        "output": lambda: score(source, OWN / "table", shared / "models"),
        "input": lambda: score(str(OWN / "source"), shared / "from_own", shared / "models"),
        "models": lambda: score(source, shared / "own_model", OWN / "models"),
        "output of a frame": score_frame,
        "lake of an input": materialize,
    }
    said = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except Exception as error:  # noqa: BLE001  (what it is, is told)
            said[name] = [type(error).__name__, str(error)]
    outputs = (OWN, shared / "from_own", shared / "own_model")
    said["committed"] = [str(path) for folder in outputs for path in folder.rglob("_delta_log/*.json")]
    spark.stop()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
