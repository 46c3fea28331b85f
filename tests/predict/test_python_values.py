"""Python values become Arrow columns as they are, or not at all."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict import partition
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.rows.convert import MISFIT
from sparktorch_assets.predict.rows.python_values import array_of
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

DAY, NAIVE = dt.date(2013, 1, 1), dt.datetime(2013, 1, 1, 10)  # noqa: DTZ001
AWARE = NAIVE.replace(tzinfo=dt.UTC)
NANOS = pd.Timestamp("2013-01-01 00:00:00.123456789")
TASK = MlTask(
    name="t",
    input="i",
    model=ModelSpec(factory="torch.nn:Identity"),
    features=[NumericFeature(columns=["x", "y"])],
    labels=["a", "b"],
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.times(),
    st.timedeltas(dt.timedelta(-999), dt.timedelta(999)),
    st.decimals(-999, 999, places=2),
)


@pytest.mark.parametrize(
    "values",
    [
        [DAY, NAIVE],
        [NAIVE, AWARE],
        [AWARE, NAIVE],
        ["a", b"a"],
        [dt.time(1), 1],
        [{"a": DAY}, {"a": NAIVE}],
        [[DAY], [NAIVE]],
    ],
)
def test_what_arrow_would_change_is_an_error(values):
    assert pa.array(values).to_pylist() != values
    with pytest.raises(MISFIT, match="as it is"):
        array_of(values)


@pytest.mark.parametrize(
    "values", [[NANOS], [NANOS, NAIVE], [NANOS.tz_localize("UTC"), AWARE], [pd.Timedelta(1), dt.timedelta(1)]]
)
def test_nanoseconds_stay(values):
    assert array_of(values).to_pylist() == values


@given(st.lists(SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("ab"), SCALARS), max_size=4))
def test_no_value_changes_on_the_way(values):
    """A column of one type, or an error; a struct may gain fields that are null."""
    try:
        found = array_of(values).to_pylist()
    except MISFIT:
        return
    for value, stored in zip(values, found, strict=True):
        if isinstance(value, dict) and stored is not None:
            stored = {key: item for key, item in stored.items() if key in value}  # noqa: PLW2901
        assert stored == value


def test_a_nested_value_fits_its_type_as_it_is_or_not_at_all():
    struct = pa.struct([("n", pa.int32()), ("d", pa.date32()), ("f", pa.float32())])
    kept = [{"n": 1, "d": DAY, "f": 0.5}, None, {"n": np.int8(2), "d": None, "f": 1}]
    assert array_of(kept, struct).to_pylist() == kept
    for changed in ({"n": 1.5}, {"d": NAIVE}):
        with pytest.raises(MISFIT):
            array_of([changed], struct)


@pytest.mark.parametrize(
    "late",
    [True, 5.5, "007", DAY, NAIVE, AWARE, b"\xff", None, 2**53 + 1, [1.5], {"a": 1, "b": 2}, decimal.Decimal("1.5")],
    ids=repr,
)
@pytest.mark.parametrize("early", [7, "text", DAY, None, {"a": 1}], ids=repr)
@pytest.mark.parametrize("at", [4, 5])
def test_rows_keep_their_own_columns_as_they_are(early, late, at, tmp_path, monkeypatch):
    """Also where the types of later rows are others, and where a key comes or goes."""
    monkeypatch.setattr(partition, "ROWS_PER_BATCH", 4)
    rows = (
        [{"x": 1.0, "y": 2.0, "own": early}] * at
        + [{"y": 2, "x": 1.0, "own": late, "new": late}]
        + [{"x": 1.0, "y": 0.0}]
    )
    found = list(predict_map(0, rows, TASK, model_loader=ModelLoader(tmp_path)))
    assert [row["predicted_class"] for row in found[-3:]] == ["b", "b", "a"]
    for before, after in zip(rows[at - 1 :], found[at - 1 :], strict=True):
        kept = {name: value for name, value in after.items() if name in before}
        if (
            isinstance(before.get("own"), dict) and at == 5
        ):  # in one chunk, structs get all the fields that any of them has
            kept["own"] = {key: value for key, value in kept["own"].items() if key in before["own"]}
        assert kept == before


def test_a_value_that_no_column_can_hold_is_named(tmp_path):
    rows = [{"x": 1.0, "y": 2.0, "own": 1 + 2j}]
    with pytest.raises(InputSchemaError, match="column 'own' of the rows"):
        list(predict_map(0, rows, TASK, model_loader=ModelLoader(tmp_path)))


@pytest.mark.parametrize("postprocess", [None, lambda row: row])
def test_dictionary_columns_come_out_as_their_values(postprocess, tmp_path):
    batches = [
        pa.record_batch({"x": [1.0] * 2, "y": [2.0] * 2, "own": pa.array(own).dictionary_encode()})
        for own in (["u", "v"], ["w", None])
    ]
    found = predict_map(0, batches, TASK, row_postprocessor=postprocess, model_loader=ModelLoader(tmp_path))
    rows = [row for batch in found for row in batch.to_pylist()]
    assert [(row["own"], row["predicted_class"]) for row in rows] == [("u", "b"), ("v", "b"), ("w", "b"), (None, "b")]
