"""A column of paths is what a fingerprint covers, and the files behind them are not."""

import dataclasses
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import plan_table
from sparktorch_assets.tasks import ImageFeature, MlTask, ModelSpec, RegressionOutput


@pytest.mark.promise("M207")
def test_a_table_is_stale_when_the_column_changes_and_not_when_a_file_does(tmp_path):
    task = MlTask(
        name="photos",
        input="photos",
        model=ModelSpec(factory="json:loads"),
        features=[ImageFeature(column="photo", height=2, width=2, read="uri", folder=str(tmp_path))],
        output=RegressionOutput(),
    )

    def fingerprint(name, version="", day=1):
        pq.write_table(pa.table({"photo": [name]}), tmp_path / "in.parquet")
        os.utime(tmp_path / "in.parquet", (day, day))
        planned = dataclasses.replace(task, code_version=version)
        table, output = str(tmp_path / "in.parquet"), str(tmp_path / "out")
        plan = plan_table(table, planned, output_table=output, model_loader=ModelLoader(tmp_path))
        return [shard.fingerprint for shard in plan.new]

    (tmp_path / "a.png").write_bytes(b"one photo")
    before = fingerprint("a.png")
    (tmp_path / "a.png").write_bytes(b"another photo")
    assert fingerprint("a.png") == before
    assert fingerprint("a.png", version="2") != before
    assert fingerprint("b.png", day=2) != before
