"""Hooks change only what they touch: every value that a hook passes on is the one that it was given, and one value that
does not fit costs its row alone."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparktorch_assets.errors import HookError
from sparktorch_assets.predict.failures import Quarantine
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.rows.hooks import apply_batch_hook, apply_row_hook
from sparktorch_assets.tasks import Hooks

WHOLE = st.integers(-(2**63), 2**63 - 1)
REQUIRED = pa.struct([pa.field("n", pa.int32(), nullable=False)])
YEARS = dt.datetime(1970, 1, 2), dt.datetime(2100, 1, 1)  # noqa: DTZ001  (the zone is the column's)
VALUES = {
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-128, 127),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): WHOLE,
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.decimal128(38, 8): st.decimals(-(10**29), 10**29, places=8),
    pa.string(): st.text(max_size=5),
    pa.large_string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.date32(): st.dates(),
    pa.timestamp("s"): st.integers(-(10**10), 10**10),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", "UTC"): st.datetimes(),
    pa.timestamp("ns"): WHOLE.filter(lambda value: value != -(2**63)),
    pa.timestamp("us", "Europe/Berlin"): st.datetimes(*YEARS),
    pa.time64("ns"): st.integers(0, 86_399_999_999_999),
    pa.list_(pa.int64()): st.lists(st.none() | WHOLE, max_size=3),
    pa.list_(pa.float32()): st.lists(st.none() | st.floats(width=32), max_size=3),
    pa.list_(pa.list_(pa.string())): st.lists(st.lists(st.text(max_size=2), max_size=2), max_size=2),
    pa.struct([("a", pa.int64()), ("b", pa.float64())]): st.fixed_dictionaries(
        {"a": st.none() | WHOLE, "b": st.none() | st.floats()}
    ),
    pa.map_(pa.string(), pa.int64()): st.dictionaries(st.text(max_size=2), st.none() | WHOLE, max_size=2).map(
        lambda entries: list(entries.items())
    ),
    pa.null(): st.none(),
    REQUIRED: st.fixed_dictionaries({"n": st.integers(0, 9)}),
}

IDENTITIES = {
    "row_preprocessor": lambda row: row,
    "row_postprocessor": dict,
    "batch_preprocessor": lambda frame: frame,
    "batch_postprocessor": lambda frame: frame.sort_values("x").copy(),
}


@st.composite
def columns(draw, rows):
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3))
    return {
        f"c{place}": pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)), kind)
        for place, kind in enumerate(kinds)
    }


def same(one, other):
    """NaN is equal to NaN here, and to nothing else."""
    if one.type != other.type or one.null_count != other.null_count:
        return False
    return repr(one.to_pylist()) == repr(other.to_pylist())


@pytest.mark.promise("M81")
@given(st.data(), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_a_column_that_no_hook_changes_is_passed_on_as_it_was(data, rows):
    """Every type, nulls and NaN among the values, through row and batch hooks, with types declared or not."""
    batch = pa.record_batch(data.draw(columns(rows)) | {"x": pa.array([float(-row) for row in range(rows)])})
    for types in (pa.schema([]), batch.schema):
        by_rows = apply_row_hook(dict, batch, "row_postprocessor", {}, types).batch
        by_frame = apply_batch_hook(
            lambda frame: frame.sort_values("x"), batch, "batch_postprocessor", {}, types, Quarantine("t")
        ).batch
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            assert same(by_rows.column(name), column), by_rows.column(name)
            assert same(by_frame.column(name), column), by_frame.column(name)


@given(st.data(), st.sampled_from(list(IDENTITIES)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_identity_hooks_leave_the_table_as_it_is_without_hooks(echo_task, loader, data, hook):
    """Through the predictor itself, for each of the four hooks and every type."""
    batch = pa.record_batch(data.draw(columns(3)) | {"x": pa.array([1.0, -1.0, 1.0])})
    tables = [
        pa.Table.from_batches(predict_map(0, [batch], task, 2, model_loader=loader)).combine_chunks()
        for task in (echo_task(), echo_task(hooks=Hooks(**{hook: IDENTITIES[hook]})))
    ]
    for name in tables[0].schema.names:
        assert same(tables[0][name].chunk(0), tables[1][name].chunk(0)), (name, tables[1][name])


def test_missing_values_that_a_hook_passes_on_keep_their_kind():
    """pandas shows null and NaN alike: what is still missing is what it was; what is filled is filled."""
    batch = pa.record_batch({"x": pa.array([1.0, None, float("nan")])})
    for hook, expected in (
        (lambda frame: frame.assign(x=frame["x"] + 1), "[2.0, None, nan]"),
        (lambda frame: frame.fillna(0.0), "[1.0, 0.0, 0.0]"),
        (lambda frame: frame[frame["x"].isna()], "[None, nan]"),
    ):
        found = apply_batch_hook(hook, batch, "batch_postprocessor", {}, pa.schema([]), Quarantine("t")).batch
        assert repr(found.column("x").to_pylist()) == expected


LARGE = [2**53 + 1, None, -(2**53) - 1, 2**63 - 1, 5]
CARRIERS = {
    "astype": lambda frame: frame.assign(n=frame["n"].astype("float64")),
    "to_numpy": lambda frame: frame.assign(n=frame["n"].to_numpy(dtype="float64", na_value=np.nan)),
    "apply": lambda frame: frame[["n", "x"]].astype("float64").apply(lambda row: row, axis=1),
    "concat": lambda frame: pd.concat([frame[:2].astype("float64"), frame[2:].astype("float64")]),
    "half the precision": lambda frame: frame.assign(n=frame["n"].astype("float32")),
}


@pytest.mark.parametrize("carry", CARRIERS)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "inferred"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.decimal128(21, 2), pa.decimal128(38, 19)], ids=str)
def test_whole_numbers_come_back_from_a_float_as_they_went_in(carry, declared, kind):
    """pandas makes floats of them for many reasons; beyond 2^53 a float stands for several of them."""
    values = [None if v is None else abs(v) for v in LARGE] if kind == pa.uint64() else LARGE
    if pa.types.is_decimal(kind):
        values = [None if v is None else decimal.Decimal(v) / 100 for v in LARGE]
    batch = pa.record_batch({"n": pa.array(values, kind), "x": pa.array([0.5] * 5)})
    types = pa.schema({"n": kind} if declared else {})
    found = apply_batch_hook(CARRIERS[carry], batch, "batch_postprocessor", {}, types, Quarantine("t"))
    assert found.failures == {}
    assert found.batch.column("n").equals(batch.column("n"))


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "inferred"])
def test_what_a_hook_changed_in_a_float_is_what_it_made_of_it(declared):
    """The neighbours keep their exact values; without a declared type, a fraction makes the column one of floats."""
    batch = pa.record_batch({"n": pa.array([2**53 + 1, 2**53 + 1, None, 7])})
    types = pa.schema({"n": pa.int64()} if declared else {})

    def run(values):
        def hook(frame):
            return frame.assign(n=frame["n"].astype("float64").where(frame.index != 1, values[0]).fillna(values[1]))

        return apply_batch_hook(hook, batch, "batch_postprocessor", {}, types, Quarantine("t"))

    assert run([4.0, 9.0]).batch.column("n").to_pylist() == [2**53 + 1, 4, 9, 7]
    fraction = run([4.5, 9.0])
    if declared:
        assert list(fraction.failures) == [1]
        assert fraction.batch.column("n").to_pylist() == [2**53 + 1, None, 9, 7]
    else:
        assert fraction.batch.column("n").to_pylist() == [2.0**53, 4.5, 9.0, 7.0]


def test_a_batch_hook_sees_ordinary_pandas(echo_task, loader):
    """Arithmetic, `.str`, `.dt`, `.fillna`, a new Series and lists work as in any other DataFrame."""

    def hook(frame):
        return frame.assign(
            n=frame["n"].fillna(0) + 1,
            s=frame["s"].str.upper(),
            t=frame["t"] + pd.Timedelta(days=1),
            length=frame["l"].map(len),
            new=pd.Series(["a", "b"]),
        )

    batch = pa.record_batch(
        {
            "n": pa.array([1, None]),
            "s": pa.array(["x", None]),
            "t": pa.array([0, 0], pa.timestamp("us")),
            "l": pa.array([[1, None], []]),
            "x": pa.array([1.0, 1.0]),
        }
    )
    task = echo_task(hooks=Hooks(batch_postprocessor=hook), hook_columns={"length": "long", "new": "string"})
    rows = pa.Table.from_batches(predict_map(0, [batch], task, 2, model_loader=loader)).to_pylist()
    assert [(row["n"], row["s"], row["t"].day, row["length"], row["new"]) for row in rows] == [
        (2, "X", 2, 2, "a"),
        (1, None, 2, 0, "b"),
    ]


@pytest.mark.promise("M83")
@pytest.mark.parametrize(
    "hook",
    [
        lambda frame: frame.sort_values("id").reset_index(drop=True),
        lambda frame: frame.reset_index(),
        lambda frame: frame.merge(frame[["id"]], on="id"),
        lambda frame: pd.DataFrame({"id": sorted(frame["id"]), "x": frame["x"].to_numpy()}),
        lambda frame: pd.concat([frame, frame]),
        lambda frame: frame.set_index("id"),
    ],
)
def test_an_index_that_could_shift_rows_is_refused(hook, echo_task, loader):
    """Whatever builds a new index may have put rows in another order: nothing tells which row is which."""
    batch = pa.record_batch({"id": pa.array([3, 1, 2]), "x": pa.array([1.0, 1.0, 1.0])})
    with pytest.raises(HookError, match="keep the index"):
        list(predict_map(0, [batch], echo_task(hooks=Hooks(batch_postprocessor=hook)), 4, model_loader=loader))


def test_column_names_of_a_frame_are_strings_used_once(echo_task, table, loader):
    """Others could not be told apart in the table."""
    for hook in (lambda frame: frame.assign(y=1).rename(columns={"y": 0}), lambda frame: frame[["x", "x"]]):
        with pytest.raises(HookError, match="names must be unique strings"):
            list(predict_map(0, [table(2)], echo_task(hooks=Hooks(batch_preprocessor=hook)), 4, model_loader=loader))


BAD = {
    "int": [7.5, "7", 2**40, float("inf"), [7]],
    "long": [7.5, "7", 2**70, "x"],
    "float": ["7.5", 1e300, NotImplemented],
    "double": ["1"],
    "boolean": [1, "true"],
    "string": [7, 7.5],
    "list<float>": [["1"], 3],
}
GOOD = {
    "int": (7, 7),
    "long": (7.0, 7),
    "float": (7, 7.0),
    "double": (True, 1.0),
    "boolean": (True, True),
    "string": ("a", "a"),
    "list<float>": ([1, 2.5], [1.0, 2.5]),
}


@pytest.mark.parametrize(("kind", "bad"), [(kind, bad) for kind, values in BAD.items() for bad in values], ids=str)
@pytest.mark.parametrize("hook", list(IDENTITIES))
def test_a_value_that_does_not_fit_fails_its_row_and_is_never_changed_to_fit(hook, kind, bad, echo_task, loader):
    """In a declared column, from each of the four hooks; the neighbours keep theirs."""
    good, expected = GOOD[kind]

    def of_row(row):
        return row | {"made": bad if row["id"] == 1 else good}

    def of_frame(frame):
        return frame.assign(made=pd.Series([bad if i == 1 else good for i in frame["id"]], dtype=object))

    task = echo_task(hooks=Hooks(**{hook: of_row if hook.startswith("row") else of_frame}), hook_columns={"made": kind})
    batch = pa.record_batch({"id": pa.array([0, 1, 2]), "x": pa.array([1.0, 1.0, 1.0])})
    rows = pa.Table.from_batches(predict_map(0, [batch], task, 2, model_loader=loader)).to_pylist()
    assert [row["made"] for row in rows] == [expected, None, expected]
    assert [row["predicted_class"] for row in rows] == ["1", None, "1"]
    assert "does not fit" in rows[1]["prediction_error"]
    assert rows[0]["prediction_error"] is rows[2]["prediction_error"] is None


@pytest.mark.parametrize("kind", ["row", "batch"])
def test_a_preprocessor_that_mixes_types_costs_the_odd_rows(kind, echo_task, loader):
    """One str among the numbers of a column, within a record batch or only in a later one."""

    def of_row(row):
        return row | {"x": "?"} if row["id"] in (2, 5) else row

    def of_frame(frame):
        return frame.assign(
            x=[value if i not in (2, 5) else "?" for i, value in zip(frame["id"], frame["x"], strict=True)]
        )

    task = echo_task(hooks=Hooks(**{f"{kind}_preprocessor": of_row if kind == "row" else of_frame}))
    batches = [
        pa.record_batch({"id": pa.array([*ids]), "x": pa.array([1.0] * len(ids))})
        for ids in (range(4), range(4, 5), range(5, 6), range(6, 8))
    ]
    rows = pa.Table.from_batches(predict_map(0, batches, task, 4, model_loader=loader)).to_pylist()
    assert [row["id"] for row in rows if row["prediction_error"]] == [2, 5]
    assert all("column 'x': a str" in rows[i]["prediction_error"] for i in (2,))


def test_a_row_hook_may_change_its_row_in_place(echo_task, loader):
    """What it changed before it failed is undone; what it changed in a list or dict and returned counts."""

    def hook(row):
        row["l"].append(9)
        row["s"]["n"] = 5
        if row["id"] == 1:
            raise ValueError("half way")
        return row

    batch = pa.record_batch(
        {
            "id": pa.array([0, 1]),
            "l": pa.array([[1], [2]]),
            "s": pa.array([{"n": 1}, {"n": 2}]),
            "x": pa.array([1.0, 1.0]),
        }
    )
    task = echo_task(hooks=Hooks(row_postprocessor=hook))
    rows = pa.Table.from_batches(predict_map(0, [batch], task, 4, model_loader=loader)).to_pylist()
    assert [(row["l"], row["s"]) for row in rows] == [([1, 9], {"n": 5}), ([2], {"n": 2})]
    assert rows[1]["prediction_error"] == "row_postprocessor: ValueError: half way"


def test_a_key_that_is_no_string_fails_its_row(echo_task, table, loader):
    """The name of its type is told; the neighbours are predicted."""
    task = echo_task(hooks=Hooks(row_preprocessor=lambda row: row | {1: 2} if row["id"] == 1 else row))
    rows = pa.Table.from_batches(predict_map(0, [table(3)], task, 4, model_loader=loader)).to_pylist()
    assert [row["predicted_class"] for row in rows] == ["1", None, "1"]
    assert "name is a int; names must be strings" in rows[1]["prediction_error"]


@pytest.mark.parametrize("kind", ["row_preprocessor", "row_postprocessor"])
def test_dates_that_python_does_not_know_fail_their_row_in_a_row_hook(kind, echo_task, loader):
    """A date beyond the year 9999 has no Python value: its row fails; a batch hook passes it on."""
    batch = pa.record_batch({"d": pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32()), "x": pa.array([1.0, 1.0])})
    rows = list(predict_map(0, [batch], echo_task(hooks=Hooks(**{kind: dict})), 4, model_loader=loader))
    assert rows[0].column("predicted_class").to_pylist() == ["1", None]
    assert rows[0].column("d").equals(batch.column("d"))
    task = echo_task(hooks=Hooks(batch_postprocessor=lambda frame: frame))
    (out,) = predict_map(0, [batch], task, 4, model_loader=loader)
    assert out.column("d").equals(batch.column("d"))


def test_a_generator_in_place_of_a_row_is_named(echo_task, table, loader):
    """`yield` in a hook makes it a generator function."""

    def hook(row):
        yield row

    with pytest.raises(HookError, match="returned a generator for a row"):
        list(predict_map(0, [table(2)], echo_task(hooks=Hooks(row_preprocessor=hook)), 4, model_loader=loader))


def test_a_null_struct_whose_fields_may_not_be_null_is_kept(echo_task, loader):
    """As an outer join brings them: the field below the null is null, too, although its type forbids it."""
    struct = pa.Array.from_buffers(REQUIRED, 2, [pa.py_buffer(b"\x02")], children=[pa.array([None, 1], pa.int32())])
    batch = pa.record_batch({"s": struct, "l": pa.ListArray.from_arrays([0, 1, 2], struct), "x": pa.array([1.0, 1.0])})
    for hooks in (Hooks(), *(Hooks(**{name: hook}) for name, hook in IDENTITIES.items())):
        (out,) = predict_map(0, [batch], echo_task(hooks=hooks), 4, model_loader=loader)
        assert out.column("s").to_pylist() == [None, {"n": 1}]
        assert out.column("l").to_pylist() == [[None], [{"n": 1}]]


def test_decimals_survive_arithmetic_of_a_hook(echo_task, loader):
    """A changed decimal keeps its column's type, or fails its row where it has too many digits."""
    value = decimal.Decimal("1.25")
    batch = pa.record_batch({"d": pa.array([value, value], pa.decimal128(10, 2)), "x": pa.array([1.0, 1.0])})
    task = echo_task(hooks=Hooks(batch_postprocessor=lambda frame: frame.assign(d=[value * 2, value / 2])))
    (out,) = predict_map(0, [batch], task, 4, model_loader=loader)
    assert out.column("d").to_pylist() == [decimal.Decimal("2.50"), None]
