"""Scores a table in a local session on a host that pretends to have one GPU. Arguments: the input, the output, the folder
for notes."""

import sys
from pathlib import Path

import gpu_nets

from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session.start import start_session
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature, SlotPolicy


def main(source: str, out: str, notes: str) -> None:
    Path(notes).mkdir(exist_ok=True)
    spark = start_session(master="local[4]", config={"spark.driver.memory": "512m"})
    task = MlTask(
        name="sign",
        input="source",
        model=ModelSpec(factory="gpu_nets:slow", arguments={"seconds_per_row": 0.002}),
        features=[NumericFeature(columns=["a", "b"])],
        labels=["minus", "plus"],
        batch=BatchPolicy(batch_size=100),
    )
    loader = gpu_nets.NotingLoader(Path(source).parent, notes=notes)
    slots = SlotPolicy(models_per_gpu=2)
    report = score_table(spark, source, task, output_table=out, model_loader=loader, slots=slots)
    sys.stdout.write(f"{report.slots}\n")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
