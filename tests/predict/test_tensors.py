"""`kind: tensor`: a row's list or vector arrives as the tensor that numpy makes of it, and a bad row fails alone."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.encode.window import encode_window
from sparktorch_assets.predict.failures import Quarantine
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import MlTask, ModelSpec, RegressionOutput, TensorFeature

VECTOR = pa.struct(
    [
        pa.field("type", pa.int8(), nullable=False),
        pa.field("size", pa.int32()),
        pa.field("indices", pa.list_(pa.field("element", pa.int32(), nullable=False))),
        pa.field("values", pa.list_(pa.field("element", pa.float64(), nullable=False))),
    ]
)
"""How Spark's VectorUDT arrives through Arrow."""


def encode(column, **declared):
    feature = TensorFeature(column="v", **declared)
    encoded = make_encoder(feature, ".").encode(pa.record_batch({"v": column}))
    (tensor,) = encoded.collate(np.arange(len(column)))
    return tensor, encoded.failures


def dense(values):
    return {"type": 1, "size": None, "indices": None, "values": values}


def sparse(size, entries):
    return {"type": 0, "size": size, "indices": list(entries), "values": list(entries.values())}


def is_good(row, shape):
    """Whether a nested list has this shape."""
    if not shape:
        return row is not None
    return row is not None and len(row) == shape[0] and all(is_good(item, shape[1:]) for item in row)


KINDS = {"float32": pa.float32(), "float64": pa.float64(), "int64": pa.int16(), "bool": pa.bool_()}
SHAPES = [(1,), (3,), (2, 2), (2, 1, 2)]


def nested(shape, size_off):
    """Lists of the shape, some of them with a wrong length or a null somewhere."""
    if not shape:
        return st.integers(0, 1) | (st.none() if size_off else st.nothing())
    inner = nested(shape[1:], size_off)
    right = st.lists(inner, min_size=shape[0], max_size=shape[0])
    return right | st.none() | st.lists(inner, max_size=4) if size_off else right


@st.composite
def tables(draw):
    """A shape, the rows of a column, their dtype, and what makes a column of them."""
    shape = draw(st.sampled_from(SHAPES))
    rows = draw(st.lists(nested(shape, size_off=False) | nested(shape, size_off=True), min_size=1, max_size=8))
    dtype = draw(st.sampled_from(list(KINDS)))
    kind, plain = KINDS[dtype], pa.int64()
    make = draw(st.sampled_from([pa.list_, pa.large_list]))
    for _ in shape:
        kind, plain = make(kind), make(plain)
    return shape, rows, dtype, lambda lists: pa.array(lists, plain).cast(kind)


@pytest.mark.promise("M132", "M133", "M134")
@given(tables(), st.integers(0, 3), st.integers(0, 3))
def test_nested_lists_of_any_length(table, before, after):
    """A row of the shape is what numpy makes of it; any other fails; in a slice of a larger array, too."""
    shape, rows, dtype, column_of = table
    others = [None, *rows, *rows, None]
    column = column_of(others[:before] + rows + others[:after]).slice(before, len(rows))
    tensor, failures = encode(column, shape=list(shape), dtype=dtype)
    assert tensor.shape == (len(rows), *shape)
    assert tensor.dtype == getattr(torch, dtype)
    assert set(failures) == {place for place, row in enumerate(rows) if not is_good(row, shape)}
    for place, row in enumerate(rows):
        if place not in failures:
            assert np.array_equal(tensor[place].numpy(), np.array(row, dtype=dtype))


@given(
    st.lists(st.none() | st.lists(st.none() | st.integers(-9, 9), min_size=4, max_size=4), min_size=1, max_size=8),
    st.integers(0, 3),
)
def test_flat_lists_and_fixed_size_lists_hold_the_values_row_by_row(rows, before):
    """Both mean the same; a fill replaces null values, and every value of a null row."""
    filled = [[7.0 if value is None else value for value in row or [None] * 4] for row in rows]
    wanted = np.array(filled, dtype=np.float32).reshape(-1, 2, 2)
    for kind in (pa.list_(pa.int64()), pa.list_(pa.int64(), 4)):
        column = pa.array([[0, None, 0, 0]] * before + rows, kind).slice(before)
        tensor, failures = encode(column, shape=[2, 2], fill=7)
        assert not failures
        assert np.array_equal(tensor.numpy(), wanted)


@pytest.mark.promise("M133")
@given(
    st.lists(
        st.none() | st.tuples(st.booleans(), st.lists(st.sampled_from([0.0, 0.0, 1.5, -2.0]), min_size=3, max_size=4)),
        min_size=1,
        max_size=9,
    ),
    st.integers(0, 2),
)
def test_dense_and_sparse_vectors_are_the_same(rows, before):
    """Whichever form each row has; a vector of another size fails its row."""
    made = [
        None
        if row is None
        else dense(row[1])
        if row[0]
        else sparse(len(row[1]), {index: value for index, value in enumerate(row[1]) if value})
        for row in rows
    ]
    column = pa.array([None, dense([9.0] * 4)][:before] + made, VECTOR).slice(before)
    tensor, failures = encode(column, shape=[4])
    assert set(failures) == {place for place, row in enumerate(rows) if row is None or len(row[1]) != 4}
    for place, row in enumerate(rows):
        if place not in failures:
            assert tensor[place].tolist() == row[1]


@pytest.mark.promise("M134")
def test_reasons_name_the_column_and_what_was_found():
    """Of each way in which a row can be wrong."""
    _, failures = encode(pa.array([[1, 2], [1], [None, 2], None]), shape=[2])
    assert {row: (failure.kind, failure.message) for row, failure in failures.items()} == {
        1: ("WrongLength", "column 'v' has 1 values; its shape [2] needs 2"),
        2: ("Null", "column 'v' has a null among its values and its feature declares no fill"),
        3: ("Null", "column 'v' is null and its feature declares no fill"),
    }
    _, failures = encode(pa.array([[[1, 2]], [None]]), shape=[1, 2])
    assert failures[1].message == "column 'v' has a null in place of a list; its shape [1, 2] needs 2"
    odd = [sparse(2, {5: 1.0}), sparse(3, {0: 1.0}), sparse(2, {1: 2.0}), dense([1.0])]
    tensor, failures = encode(pa.array(odd, VECTOR), shape=[2])
    assert {row: failure.kind for row, failure in failures.items()} == {
        0: "WrongIndex",
        1: "WrongLength",
        3: "WrongLength",
    }
    assert tensor[2].tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("dtype", "values", "reason"),
    [("int64", [[1.0], [0.5], [3.0]], "truncated"), ("bool", [[1.0], [2.0], [0.0]], "neither 0 nor 1")],
)
def test_values_that_the_dtype_cannot_represent_fail_their_row(dtype, values, reason):
    """The rows around it are encoded."""
    encoder = make_encoder(TensorFeature(column="v", shape=[1], dtype=dtype), ".")
    window = encode_window(pa.record_batch({"v": pa.array(values)}), [encoder], Quarantine("t"))
    assert {row: reason in failure.message for row, failure in window.failures.items()} == {1: True}
    assert window.rows.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("column", "shape"),
    [
        (pa.array([1.0]), [1]),
        (pa.array([["a"]]), [1]),
        (pa.array([[[1.0]]]), [1]),
        (pa.array([[[1.0]]]), [1, 1, 1]),
        (pa.array([{"a": 1}]), [1]),
    ],
)
def test_columns_of_another_type_are_refused(column, shape):
    with pytest.raises(InputSchemaError, match=r"column 'v' has type .* must be a list of 1 numbers"):
        encode(column, shape=shape)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"shape": []}, "TensorFeature.shape is empty"),
        ({"shape": [2, 0]}, "shape=0 must be a number above 0"),
        ({"shape": [2], "dtype": "int64", "fill": 0.5}, "fill=0.5 is not an int64"),
        ({"shape": [2], "dtype": "bool", "fill": 2}, "fill=2 is not a bool"),
        ({"shape": [2], "dtype": "int64", "fill": math.inf}, "fill=inf is not an int64"),
    ],
)
def test_declarations_that_cannot_be_meant(declared, message):
    with pytest.raises(TaskError, match=message):
        TensorFeature(column="v", **declared)


class Dot(torch.nn.Module):
    def forward(self, left_B23, *, right):
        assert left_B23.shape[1:] == (2, 3)
        assert right.dtype == torch.int64
        return (left_B23.flatten(1) * right).sum(1, keepdim=True)


def dot(_path, _device):
    return Dot()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_several_tensors_reach_several_arguments(batch_size):
    """Through the whole pipeline, in batches, with numpy's result; rows of dicts and one failing row among them."""
    task = MlTask(
        name="t",
        model=ModelSpec(factory=f"{__name__}:dot"),
        features=[
            TensorFeature(column="a", shape=[2, 3]),
            TensorFeature(column="b", shape=[6], dtype="int64", argument="right"),
        ],
        output=RegressionOutput(),
        max_failed_share=1.0,
    )
    rows = [{"a": [[i, 1.0, 2.0], [3.0, 4.0, 5.0]], "b": [1, 2, 3, 4, 5, i]} for i in range(7)]
    rows[4]["b"] = [1, 2]
    found = list(predict_map(0, rows, task, batch_size))
    wanted = [
        float((np.array(row["a"]).ravel() * np.array(row["b"])).sum()) if i != 4 else None for i, row in enumerate(rows)
    ]
    assert [row["predicted_value"] for row in found] == wanted
    assert found[4]["prediction_error"] == "encode: WrongLength: column 'b' has 2 values; its shape [6] needs 6"


@pytest.mark.parametrize("kind", ["string", "double", "struct<type: int8>"])
def test_the_input_is_checked_before_any_row_is_read(kind):
    task = MlTask(
        name="t",
        model=ModelSpec(factory=f"{__name__}:dot"),
        features=[TensorFeature(column="v", shape=[2])],
        output=RegressionOutput(),
    )
    for good in (VECTOR, pa.list_(pa.float32()), pa.large_list(pa.int8()), pa.list_(pa.float64(), 2)):
        task.check_input({"v": str(good)})
    with pytest.raises(InputSchemaError, match="tensor feature 'v' has type"):
        task.check_input({"v": kind})
