"""What test_connect runs in a process of its own: prints one line of JSON. Arguments: a folder to work in."""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import functions as F  # noqa: N812  (its usual name)
from safetensors.torch import save_file

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session.slot_count import find_slots
from sparktorch_assets.spark.session.start import start_session
from sparktorch_assets.spark.task_transformer import TaskTransformer
from sparktorch_assets.tasks import (
    InputTable,
    MlTask,
    ModelSpec,
    NumericFeature,
    RegressionOutput,
    SlotPolicy,
    TensorFeature,
)


def main(folder: Path) -> None:
    spark = start_session(remote="local[2]", config={"spark.driver.memory": "1g"})
    slots = SlotPolicy(device="cpu")
    task = MlTask(
        name="echo",
        input="table",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
    )
    data = spark.range(10).select("id", F.when(F.col("id") % 2 == 0, 1.0).otherwise(-1.0).alias("x"))
    predict = {
        "model_loader": ModelLoader(folder),
        "slots": slots,
        "row_postprocessor": lambda row: row if row["id"] < 8 else None,
    }
    found = spark_ml_predict(spark, data, task, parallel=3, batch_size=4, **predict)
    empty = spark_ml_predict(spark, data.limit(0), task, **predict)
    lazy = spark_ml_predict(
        spark, data.withColumn("x", F.raise_error(F.lit("touched")).cast("double")), task, **predict
    )

    (folder / "in").mkdir()
    (folder / "in" / "é a.csv").write_text("id,x\n1,2.5\nbad,1\n")
    table = InputTable(
        name="things", source="in", format="csv", columns={"id": "int", "x": "double"}, options={"header": True},
        max_rejected_share=0.5,
    )  # fmt: skip
    report = materialize_input(lambda: spark, table, project_root=folder, table_uri=str(folder / "things"))
    scored = score_dataframe(
        spark, data, task, output_table=str(folder / "scored"), model_loader=ModelLoader(folder), slots=slots
    )
    failing = dataclasses.replace(task, model=ModelSpec(factory="score_nets:fails", arguments={"kind": "odd"}))
    reasons = []
    for verb in (
        lambda: score_dataframe(
            spark, data, failing, output_table=str(folder / "a"), model_loader=ModelLoader(folder), slots=slots
        ),
        lambda: score_table(
            spark, str(folder / "things"), failing, output_table=str(folder / "b"), model_loader=ModelLoader(folder),
            slots=slots,
        ),
        lambda: spark_ml_predict(spark, data, failing, model_loader=ModelLoader(folder), slots=slots).collect(),
    ):  # fmt: skip
        try:
            verb()
        except Exception as error:  # noqa: BLE001  (what it is, is told)
            reasons.append([type(error).__name__, str(error)])
    said = {
        "reasons": reasons,
        "module": type(spark).__module__,
        "slots": find_slots(spark, slots).slots,
        "schema": found.dtypes,
        "rows": sorted((row["id"], row["predicted_class"]) for row in found.collect()),
        "empty": [empty.dtypes == found.dtypes, empty.collect()],
        "lazy": lazy.columns,
        "input": [report.rows, report.rejected_rows, report.version],
        "scored": [scored.path, scored.version, scored.rows_in, scored.rows_table, scored.tally.classes],
        "pipeline": pipeline_values(data, folder, slots),
        "zone": spark.conf.get("spark.sql.session.timeZone"),
        "left": [path.name for path in Path.cwd().iterdir()],
    }
    spark.stop()
    sys.stdout.write(json.dumps(said))


def pipeline_values(data, folder: Path, slots: SlotPolicy) -> list[list[float]]:
    """What a pipeline predicts for two rows: as it was fitted, loaded from a folder that was overwritten, and of a stage
    that was saved alone, in the same way."""
    save_file({"weight": torch.tensor([[1.0, 10.0]]), "bias": torch.zeros(1)}, folder / "pair.safetensors")
    task = MlTask(
        name="weighed",
        model=ModelSpec(
            weights="pair.safetensors", architecture="torch.nn:Linear", arguments={"in_features": 2, "out_features": 1}
        ),
        features=[TensorFeature(column="v", shape=[2])],
        output=RegressionOutput(),
    )
    assembler = VectorAssembler(inputCols=["id", "x"], outputCol="v")
    stage = TaskTransformer(task, models_root=folder, slots=slots)
    model, path, alone = Pipeline(stages=[assembler, stage]).fit(data), str(folder / "model"), str(folder / "stage")
    for saved, place in ((model, path), (stage, alone)):
        saved.write().save(place)
        saved.write().overwrite().save(place)
    loaded = (model, PipelineModel.load(path), PipelineModel([assembler, TaskTransformer.load(alone)]))
    rows = data.limit(2)
    assert stage.transformSchema(assembler.transform(rows).schema) == model.transform(rows).schema
    return [sorted(row["predicted_value"] for row in found.transform(rows).collect()) for found in loaded]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
