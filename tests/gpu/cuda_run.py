"""Scores a table on a cluster whose workers have GPUs, in one session per way to share them: with the amounts of the job,
and with `spark.task.resource.gpu.amount` of the session. Prints one line of JSON. Arguments: the master; a folder with the
table `source`; the number of GPUs."""

import json
import sys
from pathlib import Path

from sparktorch_assets import MlTask, ModelLoader, ModelSpec, NumericFeature, SlotPolicy, score_table, start_session

WAYS = {"job": {}, "session": {"spark.task.resource.gpu.amount": "0.5"}}


def main(master: str, folder: Path, gpus: int) -> None:
    said = {}
    for way, amounts in WAYS.items():
        config = {"spark.driver.memory": "512m", "spark.executor.memory": "512m", "spark.executor.cores": str(4 * gpus)}
        spark = start_session(master=master, gpus_per_worker=gpus, config=config | amounts)
        notes = folder / f"{way}.notes"
        notes.mkdir()
        task = MlTask(
            name="numbers",
            input="source",
            model=ModelSpec(factory="cuda_nets:noting", arguments={"notes": str(notes)}),
            features=[NumericFeature(columns=["a", "b"])],
            labels=["x", "y", "z"],
        )
        report = score_table(
            spark, str(folder / "source"), task, output_table=str(folder / way), model_loader=ModelLoader(folder / "models"),
            slots=SlotPolicy(models_per_gpu=2),
        )  # fmt: skip
        said[way] = {"devices": report.tally.devices, "slots": report.slots, "rows": report.rows_table}
        spark.stop()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
