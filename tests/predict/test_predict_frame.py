"""`predict_frame`: a DataFrame or dicts in, the same with what the model says; without Spark."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.frame import predict_frame
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import (
    AudioFeature,
    CategoricalFeature,
    Hooks,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
    RegressionOutput,
    RowFilter,
    SequenceFeature,
    TensorFeature,
    TextFeature,
)


class Twice(torch.nn.Module):
    def forward(self, x_BF):
        if (x_BF > 900).any():
            raise ValueError("a poisoned row")
        return x_BF.flatten(1).sum(1, keepdim=True) * 2


def twice(_path, _device):
    return Twice()


class First(torch.nn.Module):
    def forward(self, values, *_mask):
        return values.flatten(1)[:, :1].float()


def first(_path, _device):
    return First()


def task(**changes):
    declared = {
        "name": "t",
        "model": ModelSpec(factory=f"{__name__}:twice"),
        "features": [NumericFeature(columns=["x"])],
        "output": RegressionOutput(),
        "max_failed_share": 1.0,
    }
    return MlTask(**(declared | changes))


@given(st.lists(st.floats(-100, 100, width=32) | st.none(), min_size=1, max_size=12), st.integers(1, 5), st.data())
def test_rows_keep_their_index_and_their_order(xs, batch_size, data):
    """Whatever the index is, and whichever rows `where` keeps; missing values and NaN are nulls."""
    index = data.draw(st.permutations(range(len(xs))))
    frame = pd.DataFrame({"x": np.array(xs, dtype=float), "id": range(len(xs))}, index=index)
    where = data.draw(st.sampled_from([(), (RowFilter(column="id", op=">", value=2),)]))
    found = predict_frame(frame, task(where=where), batch_size)
    kept = frame[frame["id"] > 2] if where else frame
    pd.testing.assert_frame_equal(found[["x", "id"]], kept)
    expected = (kept["x"].astype("float32") * 2).rename("predicted_value")
    pd.testing.assert_series_equal(found["predicted_value"].astype("float32"), expected)
    assert (found["prediction_error"].notna() == kept["x"].isna()).all()


def test_columns_of_any_pandas_type_stay_as_they_are():
    """Those that the task keeps, in its order."""
    frame = pd.DataFrame(
        {
            "x": pd.array([1, None, 3], dtype="Int64"),
            "kind": pd.Categorical(["a", "b", "a"]),
            "when": pd.to_datetime(["2020-01-01", None, "2021-01-01"], utc=True),
            "gone": [1, 2, 3],
        }
    )
    found = predict_frame(frame, task(keep_columns=["when", "x", "kind"]))
    pd.testing.assert_frame_equal(found[["when", "x", "kind"]], frame[["when", "x", "kind"]])
    assert list(found.columns) == ["when", "x", "kind", "predicted_value", "prediction_error"]
    assert found["predicted_value"].tolist()[::2] == [2.0, 6.0]


def test_a_poisoned_row_fails_alone():
    found = predict_frame(pd.DataFrame({"x": [1.0, 901.0, 3.0]}), task())
    assert found["predicted_value"].isna().tolist() == [False, True, False]
    assert "a poisoned row" in found["prediction_error"][1]


def test_hooks_may_drop_rows():
    """The rows are numbered anew then, since any of them may be gone."""
    hooks = Hooks(row_preprocessor=lambda row: None if row["x"] == 2 else {"x": row["x"] + 10})
    found = predict_frame(pd.DataFrame({"x": [1, 2, 3]}, index=[7, 8, 9]), task(hooks=hooks))
    assert found[["x", "predicted_value"]].to_numpy().tolist() == [[1, 22], [3, 26]]
    assert list(found.index) == [0, 1]


@pytest.mark.parametrize("cell", [lambda array: array, lambda array: array.tolist(), lambda array: array.ravel()])
def test_cells_may_be_arrays(cell):
    """Of several dimensions, too: an array per row is how notebooks hold images and embeddings."""
    arrays = [np.arange(6.0).reshape(2, 3) + row for row in range(3)]
    frame = pd.DataFrame({"v": [cell(array) for array in arrays]})
    found = predict_frame(frame, task(features=[TensorFeature(column="v", shape=[2, 3])]))
    assert found["predicted_value"].tolist() == [2 * array.sum() for array in arrays]
    assert found["v"][0] is frame["v"][0]


def test_dicts_are_predicted_as_they_are_read():
    """A generator of dicts gives an iterator of dicts."""
    found = predict_frame(({"x": float(x)} for x in range(3)), task(), model_loader=ModelLoader("."))
    assert [row["predicted_value"] for row in found] == [0.0, 2.0, 4.0]


def test_an_empty_frame_has_the_columns_of_a_full_one():
    found = predict_frame(pd.DataFrame({"x": np.array([], dtype=float)}), task())
    assert list(found.columns) == ["x", "predicted_value", "prediction_error"]
    assert len(found) == 0


@pytest.mark.promise("M226")
@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda fill: NumericFeature(columns=["x"], fill=fill and 2.0), 1.0),
        (lambda fill: TextFeature(column="x", fill=fill and "ab"), "a"),
        (lambda fill: CategoricalFeature(columns=["x"], vocabulary={"x": ["a"]}, fill=fill and "a"), "a"),
        (lambda fill: SequenceFeature(column="x", fill=fill and 2.0), [1.0]),
        (lambda fill: TensorFeature(column="x", shape=[1, 2], fill=fill and 2.0), [1.0, 1.0]),
        (lambda fill: ImageFeature(column="x", height=2, width=2, fill=fill and 0.5), b"broken"),
        (lambda fill: ImageFeature(column="x", height=2, width=2, read="uri", fill=fill and 0.5), "/no/file"),
        (lambda fill: AudioFeature(column="x", sample_rate=8_000, fill=fill and 0.5), b"broken"),
    ],
)
def test_a_column_without_any_value_is_that_of_rows_with_nulls(make, given):
    """No type can be inferred from missing values, and those that come before a value cost no more than those after."""
    for fill in (None, True):
        features = task(features=[make(fill)], model=ModelSpec(factory=f"{__name__}:first"))
        nulls, mixed = (
            list(predict_frame([{"x": value} for value in values], features))
            for values in ([None, None], [None, None, given])
        )
        assert [row["predicted_value"] is None for row in nulls] == [fill is None] * 2
        assert [row["prediction_error"] for row in nulls] == [row["prediction_error"] for row in mixed[:2]]
        assert [row["predicted_value"] for row in nulls] == [row["predicted_value"] for row in mixed[:2]]
        (found,) = predict_frame(pd.DataFrame({"x": [None]}), features).to_dict("records")
        assert found["prediction_error"] == nulls[0]["prediction_error"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"y": [1.0]}), "features needs column 'x'"),
        (pd.DataFrame({"x": [1, "a"]}), "column 'x' of the frame holds values of several types"),
        (pd.DataFrame({0: [1]}), r"a column whose name is no string \(0\)"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "two columns of one name"),
        (pd.DataFrame({"x": [1.0], "predicted_value": [1.0]}), "the input already has 'predicted_value'"),
    ],
)
def test_frames_that_could_be_no_table(frame, message):
    with pytest.raises(InputSchemaError, match=message):
        predict_frame(frame, task())
