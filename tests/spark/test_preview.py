"""The first rows of a table with their predictions, as `limit_rows` shows them."""

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.preview import preview_rows
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, RowFilter, SlotPolicy

TASK = MlTask(
    name="echo",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["no", "yes"],
    where=[RowFilter(column="id", op=">", value=1)],
    keep_columns=["id"],
)


@pytest.mark.promise("O111")
def test_the_first_rows_that_the_conditions_let_through_are_predicted_and_written_nowhere(spark, tmp_path):
    source = tmp_path / "table"
    rows = {"id": range(10), "x": [1.0 if row % 2 else -1.0 for row in range(10)], "png": [b"bytes"] * 10}
    write_deltalake(source, pa.table(rows))
    before = sorted(tmp_path.rglob("*"))
    given = {"model_loader": ModelLoader(tmp_path), "slots": SlotPolicy(device="cpu")}
    found = preview_rows(lambda: spark, str(source), TASK, 3, **given)
    assert [(row["id"], row["predicted_class"]) for row in found] == [(2, "no"), (3, "yes"), (4, "no")]
    late = preview_rows(spark, str(source), TASK, 100, where=[RowFilter(column="id", op=">=", value=8)], **given)
    assert [row["id"] for row in late] == [8, 9]
    assert preview_rows(spark, str(source), TASK, 5, where=[RowFilter(column="id", op=">", value=99)], **given) == []
    assert sorted(tmp_path.rglob("*")) == before
