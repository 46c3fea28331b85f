"""What hooks get, what they may return, and what becomes of it, as docs/predicting.md says."""

import pandas as pd
import pyarrow as pa
import pytest

from sparktorch_assets.errors import HookError
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import ClassificationOutput, Hooks, NumericFeature, RowFilter

HOOKS = ("row_preprocessor", "batch_preprocessor", "row_postprocessor", "batch_postprocessor")
PREPROCESSORS, POSTPROCESSORS = HOOKS[:2], HOOKS[2:]
PREDICTIONS = ["predicted_class", "confidence", "prediction_error"]


def predict(task, batch, loader, **settings):
    return pa.Table.from_batches(predict_map(0, [batch], task, model_loader=loader, **settings)).to_pylist()


def changing(hook, **columns):
    """A hook of this kind that sets columns: name -> function of the row (a dict or a DataFrame)."""
    if hook.startswith("row"):
        return lambda row: row | {name: make(row) for name, make in columns.items()}
    return lambda frame: frame.assign(**{name: make(frame) for name, make in columns.items()})


def raising(hook, bad):
    """A hook of this kind that raises for the row with this id."""

    def row(values):
        if values["id"] == bad:
            raise ValueError("poison")
        return values

    def batch(frame):
        if (frame["id"] == bad).any():
            raise ValueError("poison")
        return frame

    return row if hook.startswith("row") else batch


@pytest.mark.promise("M72", "M73", "M74", "M75")
def test_hooks_run_in_the_order_of_the_page_on_the_rows_that_are_left(echo_task, table, loader):
    """Row hooks get dicts and drop with `None`, batch hooks get frames and drop by leaving rows out."""
    seen = []

    def row_hook(name, dropped):
        def hook(row):
            assert type(row) is dict
            seen.append((name, row["id"], sorted(row)))
            return None if row["id"] == dropped else row

        return hook

    def batch_hook(name, dropped):
        def hook(frame):
            assert type(frame) is pd.DataFrame
            seen.extend((name, number, sorted(frame.columns)) for number in frame["id"].tolist())
            return frame[frame["id"] != dropped]

        return hook

    hooks = Hooks(
        row_preprocessor=row_hook("1", 1),
        batch_preprocessor=batch_hook("2", 2),
        row_postprocessor=row_hook("3", 3),
        batch_postprocessor=batch_hook("4", 4),
    )
    tally = Tally()
    task = echo_task(where=[RowFilter(column="id", op=">", value=0)], hooks=hooks)
    rows = predict(task, table(6), loader, tally=tally)
    assert [row["id"] for row in rows] == [5]
    assert (tally.filtered, tally.dropped) == (1, 4)
    assert [[number for name, number, _ in seen if name == step] for step in "1234"] == [
        [1, 2, 3, 4, 5],
        [2, 3, 4, 5],
        [3, 4, 5],
        [4, 5],
    ]
    assert {(name in "34", tuple(columns)) for name, _, columns in seen} == {
        (False, ("id", "x")),
        (True, tuple(sorted(["id", "x", *PREDICTIONS]))),
    }


@pytest.mark.promise("M76")
@pytest.mark.parametrize("hook", PREPROCESSORS)
def test_the_model_sees_what_a_preprocessor_made_and_the_table_what_was_there(hook, echo_task, table, loader):
    task = echo_task(hooks=Hooks(**{hook: changing(hook, x=lambda row: -row["x"])}))
    rows = predict(task, table(4), loader)
    assert [row["x"] for row in rows] == [1.0, -1.0, 1.0, -1.0]
    assert [row["predicted_class"] for row in rows] == ["0", "1", "0", "1"]


@pytest.mark.promise("M77", "M93")
@pytest.mark.parametrize("declared", [{}, {"y": "double"}])
@pytest.mark.parametrize("hook", PREPROCESSORS)
def test_a_column_that_a_preprocessor_adds_is_a_feature_and_is_written_if_declared(
    hook, declared, echo_task, table, loader
):
    given = []
    hooks = Hooks(
        **{hook: changing(hook, y=lambda row: -row["x"])}, row_postprocessor=lambda row: given.append(row) or row
    )
    task = echo_task(features=[NumericFeature(columns=["y"])], hooks=hooks, hook_columns=declared)
    rows = predict(task, table(2), loader)
    assert [row["predicted_class"] for row in rows] == ["0", "1"]
    assert [row["y"] for row in given] == [-1.0, 1.0]
    assert [row.get("y") for row in rows] == ([-1.0, 1.0] if declared else [None, None])
    assert ("y" in rows[0]) is bool(declared)


@pytest.mark.promise("M78")
@pytest.mark.parametrize("hook", POSTPROCESSORS)
def test_a_postprocessor_changes_what_is_written(hook, echo_task, table, loader):
    columns = {"predicted_class": lambda _: "0", "x": lambda row: row["x"] * 3}
    rows = predict(echo_task(hooks=Hooks(**{hook: changing(hook, **columns)})), table(2), loader)
    assert [(row["predicted_class"], row["x"]) for row in rows] == [("0", 3.0), ("0", -3.0)]


@pytest.mark.promise("M79")
@pytest.mark.parametrize("hook", POSTPROCESSORS)
def test_a_postprocessor_returns_the_columns_of_the_table(hook, echo_task, table, loader):
    """Those of hooks may be missing, and others are left out."""
    task = echo_task(hooks=Hooks(**{hook: changing(hook, other=lambda _: 1)}), hook_columns={"mine": "long"})
    rows = predict(task, table(2), loader)
    assert [sorted(row) for row in rows] == [sorted(["id", "x", *PREDICTIONS, "mine"])] * 2
    assert [row["mine"] for row in rows] == [None, None]

    def without_x(rows):
        if isinstance(rows, dict):
            return {name: value for name, value in rows.items() if name != "x"}
        return rows.drop(columns="x")

    with pytest.raises(HookError, match="the postprocessor left out 'x', which the table holds"):
        predict(echo_task(hooks=Hooks(**{hook: without_x})), table(2), loader)
    predict(echo_task(hooks=Hooks(**{hook: without_x}), keep_columns=["id"]), table(2), loader)


@pytest.mark.promise("M80")
def test_nulls_are_none_in_dicts_and_missing_in_nullable_columns(echo_task, loader):
    batch = pa.record_batch(
        {
            "x": pa.array([1.0, 1.0]),
            "n": pa.array([2**60 + 1, None]),
            "b": pa.array([True, None]),
            "s": pa.array(["a", None]),
        }
    )
    rows, types = [], {}
    hooks = Hooks(
        row_preprocessor=lambda row: rows.append(row) or row,
        batch_preprocessor=lambda frame: types.update(frame.dtypes.astype(str)) or frame,
    )
    predict(echo_task(hooks=hooks), batch, loader)
    assert rows == [{"x": 1.0, "n": 2**60 + 1, "b": True, "s": "a"}, {"x": 1.0, "n": None, "b": None, "s": None}]
    assert (types["n"], types["b"]) == ("Int64", "boolean")


@pytest.mark.promise("M82")
@pytest.mark.parametrize("hook", POSTPROCESSORS)
def test_a_value_that_does_not_fit_fails_its_row_alone(hook, echo_task, table, loader):
    def of(row):
        values = [2**40, 7]
        return values[row["id"]] if isinstance(row, dict) else values

    task = echo_task(hooks=Hooks(**{hook: changing(hook, small=of)}), hook_columns={"small": "int"})
    bad, good = predict(task, table(2), loader)
    assert bad["prediction_error"] is not None
    assert (bad["small"], bad["predicted_class"]) == (None, None)
    assert (good["prediction_error"], good["small"], good["predicted_class"]) == (None, 7, "0")


@pytest.mark.promise("M84", "M85")
@pytest.mark.parametrize("hook", HOOKS)
def test_a_row_on_which_a_hook_raises_fails_alone_and_meets_no_later_hook(hook, echo_task, table, loader):
    later = []
    after = HOOKS[HOOKS.index(hook) + 1 :]
    hooks = {name: changing(name, note=lambda row: later.append(row["id"]) or row["id"]) for name in after}
    rows = predict(echo_task(hooks=Hooks(**hooks, **{hook: raising(hook, 5)})), table(9), loader)
    assert [row["id"] for row in rows if row["prediction_error"]] == [5]
    assert f"{hook}: ValueError: poison" in rows[5]["prediction_error"]
    assert rows[5]["predicted_class"] is None
    numbers = pd.Series([number for part in later for number in (part if isinstance(part, pd.Series) else [part])])
    assert 5 not in numbers.tolist()


@pytest.mark.promise("M86")
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_without_a_return_drops_every_row_or_is_refused(hook, echo_task, table, loader):
    task = echo_task(hooks=Hooks(**{hook: lambda rows: None}))
    if hook.startswith("batch"):
        with pytest.raises(HookError, match=f"{hook} returned a NoneType; return a pandas DataFrame"):
            predict(task, table(3), loader)
    else:
        tally = Tally()
        assert list(predict_map(0, [table(3)], task, model_loader=loader, tally=tally)) == []
        assert "hooks dropped" in str(task.check_drops(tally.dropped, tally.rows))


@pytest.mark.promise("M87", "M88", "M89", "M90", "M91", "M94")
@pytest.mark.parametrize("prefix", ["", "echo_"])
@pytest.mark.parametrize("keep", [None, ["x", "id"], []])
def test_the_columns_of_the_table_are_those_of_the_page(prefix, keep, echo_task, table, loader):
    task = echo_task(
        keep_columns=keep,
        output_prefix=prefix,
        output=ClassificationOutput(scores=True),
        hooks=Hooks(row_postprocessor=dict),
        hook_columns={"note": "string"},
    )
    (batch,) = predict_map(0, [table(2)], task, model_loader=loader)
    kept = ["id", "x"] if keep is None else keep
    added = [prefix + name for name in (*PREDICTIONS, "scores")]
    assert batch.schema.names == [*kept, *added, "note"]
    assert [str(batch.schema.field(name).type) for name in added] == ["string", "float", "string", "list<item: float>"]
    for row in batch.to_pylist():
        assert row[f"{prefix}confidence"] == max(row[f"{prefix}scores"])
        assert row[f"{prefix}predicted_class"] == "01"[row[f"{prefix}scores"].index(max(row[f"{prefix}scores"]))]
        assert sum(row[f"{prefix}scores"]) == pytest.approx(1.0)
        assert row[f"{prefix}prediction_error"] is None
