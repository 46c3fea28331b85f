"""A model object on the predictions of another task gives its own answers, never the first task's."""

import pyarrow as pa
import pytest

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

ROWS = pa.record_batch(
    {
        "x": [1.0, 2.0, 3.0, 4.0],
        "predicted_class": ["yes", "yes", None, "no"],
        "confidence": pa.array([0.9, 0.8, None, 0.7], pa.float32()),
        "prediction_error": [None, None, "encode: Null: column 'x'", None],
    }
)
EXPECTED = [("big", None), (None, "NoClass"), ("big", None), (None, "NoClass")]


class OddRows:
    """Predicts rows with an odd `x`, and adds nothing to the others."""

    def __init__(self, _weights, _device, prefix=""):
        self.prefix = prefix

    def predict(self, rows):
        for row in rows:
            added = {f"{self.prefix}predicted_class": "big", f"{self.prefix}confidence": 0.6}
            yield row | (added if row["x"] % 2 else {})


class OddBatches(OddRows):
    def predict_batch(self, batch):
        rows = pa.Table.from_pylist(list(self.predict(batch.to_pylist())))
        return rows.to_batches()[0] if rows.num_rows else batch


def predicted(tmp_path, kind, *, prefix="second_", arguments=None, columns=("x",), **changes):
    task = MlTask(
        name="second",
        input="i",
        model=ModelSpec(factory=f"test_chained_models:{kind}", arguments=arguments or {}),
        features=[NumericFeature(columns=columns)],
        labels=["small", "big"],
        output_prefix=prefix,
        max_failed_share=1.0,
        **changes,
    )
    (found,) = predict_map(0, [ROWS], task, model_loader=ModelLoader(tmp_path))
    errors = [row[f"{prefix}prediction_error"] for row in found.to_pylist()]
    kinds = [None if error is None else error.split(": ")[1] for error in errors]
    return list(zip(found.column(f"{prefix}predicted_class").to_pylist(), kinds, strict=True))


@pytest.mark.promise("M69")
@pytest.mark.parametrize("kind", ["OddRows", "OddBatches"])
def test_the_first_tasks_answers_are_never_taken_for_the_second_tasks(kind, tmp_path):
    """Neither its classes, where the second model adds none, nor its failures."""
    assert predicted(tmp_path, kind) == EXPECTED
    assert predicted(tmp_path, kind, arguments={"prefix": "second_"}) == EXPECTED
    assert predicted(tmp_path, kind, prefix="", keep_columns=["x"]) == EXPECTED


@pytest.mark.promise("M69")
@pytest.mark.parametrize("kind", ["OddRows", "OddBatches"])
def test_a_feature_may_read_the_first_tasks_confidence(kind, tmp_path):
    """Then the model's own has the name that it has in the table."""
    read = {"columns": ["x", "confidence"]}
    assert predicted(tmp_path, kind, arguments={"prefix": "second_"}, **read) == EXPECTED
    assert [error for _, error in predicted(tmp_path, kind, **read)] == ["NoConfidence", "NoClass"] * 2
    with pytest.raises(
        ModelError, match="features read 'confidence', which its model object also adds; set output_prefix"
    ):
        predicted(tmp_path, kind, prefix="", keep_columns=["x"], **read)
