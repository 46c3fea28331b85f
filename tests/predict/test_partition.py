"""The partition predictor: every row accounted for, in order, whatever the batches, hooks and failures."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparktorch_assets.errors import HookError, InputSchemaError, ModelError, UnknownTaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.partition import predict_keyed, predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    BatchPolicy,
    ClassificationOutput,
    Hooks,
    MlTask,
    ModelSpec,
    NumericFeature,
    RowFilter,
)


def predicted(batches):
    return pa.Table.from_batches(list(batches)).to_pylist()


@pytest.mark.parametrize("sizes", [[10], [3, 7], [1] * 10, [4, 0, 6]])
def test_batches_are_exactly_batch_size_across_record_batches(sizes, echo_task, table, loader):
    """Only the last batch is short, however the rows arrive; the model itself reveals the sizes."""
    task = echo_task("RevealsBatch", labels=[str(n) for n in range(6)], arguments={"classes": 6})
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    rows = predicted(
        predict_map(0, [table(n, s) for n, s in zip(sizes, starts, strict=True)], task, 4, model_loader=loader)
    )
    assert [row["predicted_class"] for row in rows] == ["4"] * 8 + ["2"] * 2
    assert [row["id"] for row in rows] == list(range(10))


def test_rows_in_rows_out(echo_task, table, loader):
    """A partition of dicts gives dicts, with the same predictions as record batches."""
    rows = list(predict_map(0, iter(table(5).to_pylist()), echo_task(), 2, model_loader=loader))
    assert rows == predicted(predict_map(0, [table(5)], echo_task(), 3, model_loader=loader))
    assert [row["predicted_class"] for row in rows] == ["1", "0", "1", "0", "1"]


def test_empty_partition_gives_nothing_and_loads_nothing(echo_task, loader):
    """An empty partition is no error."""
    assert list(predict_map(0, iter([]), echo_task(), 4, model_loader=loader)) == []


def test_schema_is_fixed_before_execution(echo_task, table, loader):
    """What comes out has exactly the schema that was announced, types and order."""
    task = echo_task(keep_columns=["id"], output=ClassificationOutput(scores=True), output_prefix="p_")
    (batch,) = predict_map(0, [table(3)], task, 4, model_loader=loader)
    assert batch.schema == output_schema(task, table(0).schema)
    assert batch.schema.names == ["id", "p_predicted_class", "p_confidence", "p_prediction_error", "p_scores"]


@pytest.mark.promise("M52", "M53")
@given(
    sizes=st.lists(st.integers(0, 9), max_size=6),
    batch_size=st.integers(1, 7),
    poison=st.sets(st.integers(0, 30)),
    dropped_before=st.sets(st.integers(0, 30)),
    dropped_after=st.sets(st.integers(0, 30)),
    failing_hook=st.sets(st.integers(0, 30)),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_accounted_for(sizes, batch_size, poison, dropped_before, dropped_after, failing_hook):
    """rows = predicted + failed + dropped, per key; a bad row costs itself alone; order is kept."""

    def before(row):
        if row["id"] in failing_hook:
            raise KeyError("gone")
        return None if row["id"] in dropped_before else row

    def after(row):
        return None if row["id"] in dropped_after else row

    task = _fails_on_value(Hooks(row_preprocessor=before, row_postprocessor=after))
    batches, start = [], 0
    for key, size in enumerate(sizes):
        ids = list(range(start, start + size))
        # A poisoned row makes any batch that holds it raise. One healthy row first: else all could fail.
        values = [13.0 if i in poison and i else 1.0 for i in ids]
        batches.append((key, pa.record_batch({"id": pa.array(ids, pa.int64()), "x": pa.array(values, pa.float64())})))
        start += size
    tallies = {key: Tally() for key, _ in batches}
    predictor = LocalPredictor(task, batch_size, model_loader=ModelLoader("."))
    schema = output_schema(task, pa.schema([("id", pa.int64()), ("x", pa.float64())]))
    try:
        found = list(predict_keyed(batches, predictor=predictor, schema=schema, tally_of=tallies.__getitem__))
    except ModelError as error:
        assert "every row that was tried failed" in str(error)  # noqa: PT017  (the way out when nothing ever succeeds)
        return
    rows = [(key, row) for key, batch in found for row in batch.to_pylist()]
    assert [row["id"] for _, row in rows] == sorted(row["id"] for _, row in rows)
    for key, batch in batches:
        ids = batch.column("id").to_pylist()
        out = {row["id"]: row for k, row in rows if k == key}
        for i in ids:
            if i in failing_hook:
                assert out[i]["prediction_error"] == "row_preprocessor: KeyError: 'gone'"
            elif i in dropped_before:
                assert i not in out
            elif i in poison and i:
                assert out[i]["prediction_error"] == "forward: ValueError: poison"
                assert out[i]["predicted_class"] is None
                assert out[i]["confidence"] is None
            elif i in dropped_after:
                assert i not in out
            else:
                assert out[i]["predicted_class"] == "1"
        tally = tallies[key]
        assert tally.balanced
        assert tally.rows == len(ids)
        assert tally.predicted + tally.failed == len(out)
        assert sum(tally.confidence_histogram) == tally.predicted == sum(tally.classes.values())


def _fails_on_value(hooks):
    from sparktorch_assets.tasks import MlTask, NumericFeature

    return MlTask(
        name="poisoned",
        input="table",
        model=ModelSpec(
            factory="sparktorch_assets.testing:build", arguments={"network": "FailsOnValue", "value": 13.0}
        ),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
        hooks=hooks,
    )


@given(
    st.lists(st.integers(0, 40), max_size=5),
    st.integers(1, 9) | st.none(),
    st.sets(st.integers(0, 9), max_size=3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_every_row_is_told_once_and_as_soon_as_it_is_done(sizes, batch_size, poison, drops, filters, duplicates):
    """Predicted, failed, filtered, dropped or standing for others: the rows told sum up to those that came."""
    x = np.arange(sum(sizes)) % 10
    task = MlTask(
        name="t",
        input="table",
        model=ModelSpec(factory=f"{__name__}:fails_on", arguments={"values": sorted(poison)}),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
        batch=BatchPolicy(batch_size=batch_size, deduplicate=duplicates),
        where=[RowFilter(column="x", op="<", value=7)] if filters else [],
        hooks=Hooks(
            row_preprocessor=(lambda row: row if row["x"] % 3 else None) if drops else None,
            row_postprocessor=(lambda row: row if row["x"] % 2 else None) if drops else None,
        ),
    )
    ends = np.cumsum([0, *sizes])
    batches = [
        (key, pa.record_batch({"x": x[start:end].astype(float)}))
        for key, (start, end) in enumerate(itertools.pairwise(ends))
    ]
    told, tally = [], Tally()
    found = predict_keyed(
        batches,
        predictor=LocalPredictor(task, model_loader=ModelLoader(".")),
        schema=output_schema(task, pa.schema([("x", pa.float64())])),
        tally_of=lambda _: tally,
        on_rows=told.append,
    )
    for _ in found:
        pass
    assert sum(told) == len(x) == tally.rows + tally.filtered
    assert min(told, default=0) >= 0


class FailsOn(torch.nn.Module):
    """Raises for a batch with one of the values."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.tensor(values, dtype=torch.float32)

    def forward(self, x_BF):
        if torch.isin(x_BF, self.values).any():
            raise ValueError("poison")
        return torch.cat([x_BF, -x_BF], dim=1)


def fails_on(_weights, _device, values=()):
    return FailsOn(list(values))


def test_filter_counts_what_it_leaves_out(echo_task, table, loader):
    """Rows for which the filter does not hold, nulls among them, are not predicted but counted."""
    batch = pa.record_batch({"id": pa.array([1, None, 3]), "x": pa.array([1.0, 1.0, 1.0])})
    tally = Tally()
    task = echo_task(where=[RowFilter(column="id", op=">", value=1)])
    rows = predicted(predict_map(0, [batch], task, 4, model_loader=loader, tally=tally))
    assert [row["id"] for row in rows] == [3]
    assert (tally.filtered, tally.rows, tally.predicted) == (2, 1, 1)


@pytest.mark.promise("M54")
def test_nan_logits_fail_their_rows_only(echo_task, loader):
    """A row whose logits are NaN is a failed row, its neighbours are not."""
    batch = pa.record_batch({"x": pa.array([1.0, 13.0, -1.0])})
    task = echo_task("NotFiniteOnValue", arguments={"value": 13.0})
    rows = predicted(predict_map(0, [batch], task, 4, model_loader=loader))
    assert [row["predicted_class"] for row in rows] == ["1", None, "0"]
    assert rows[1]["prediction_error"].startswith("forward: NotFinite")


@pytest.mark.promise("M32", "M54")
def test_null_without_fill_fails_its_row(echo_task, loader):
    """The reason names the column and that no fill is declared."""
    batch = pa.record_batch({"x": pa.array([1.0, None])})
    rows = predicted(predict_map(0, [batch], echo_task(), 4, model_loader=loader))
    assert rows[1]["prediction_error"] == "encode: Null: column 'x' is null and its feature declares no fill"


@pytest.mark.promise("M59")
def test_a_model_that_always_fails_stops_early_with_its_own_error(echo_task, table, loader):
    """When no row gets through, the model's error is raised after a few rows, not one failure a row."""
    task = echo_task("FailsOnValue", arguments={"value": 1.0})
    batch = pa.record_batch({"x": pa.array([1.0] * 1000)})
    with pytest.raises(ModelError, match="every row that was tried failed in forward.*ValueError: poison"):
        list(predict_map(0, [batch], task, 100, model_loader=loader))


def test_labels_that_do_not_match_the_logits(echo_task, table, loader):
    """The error says how many logits and labels there are; it is not taken for a bad row."""
    task = echo_task(labels=["a", "b", "c"])
    with pytest.raises(ModelError, match=r"shape \(2, 2\) for 2 rows and 3 labels"):
        list(predict_map(0, [table(2)], task, 4, model_loader=loader))


@pytest.mark.promise("M60")
def test_batch_hooks_see_data_frames_and_drop_rows(echo_task, table, loader):
    """A pandas hook may change, add and leave out rows; the table keeps the input's own columns."""

    def before(frame):
        return frame[frame["id"] != 1].assign(x=lambda f: -f["x"], note="seen")

    def after(frame):
        return frame.assign(predicted_class=frame["predicted_class"] + "!", note=frame["note"].str.upper())

    task = echo_task(hook_columns={"note": "string"}, hooks=Hooks(batch_preprocessor=before, batch_postprocessor=after))
    tally = Tally()
    rows = predicted(predict_map(0, [table(4)], task, 4, model_loader=loader, tally=tally))
    assert [(row["id"], row["x"], row["predicted_class"], row["note"]) for row in rows] == [
        (0, 1.0, "0!", "SEEN"),
        (2, 1.0, "0!", "SEEN"),
        (3, -1.0, "1!", "SEEN"),
    ]
    assert (tally.dropped, tally.balanced) == (1, True)


def test_integers_with_nulls_survive_a_batch_hook(echo_task, loader):
    """No integer passes through a float on its way through pandas: 2**53 + 1 stays what it is."""
    big = 2**53 + 1
    batch = pa.record_batch({"id": pa.array([big, None]), "x": pa.array([1.0, 1.0])})
    task = echo_task(hooks=Hooks(batch_postprocessor=lambda frame: frame))
    rows = predicted(predict_map(0, [batch], task, 4, model_loader=loader))
    assert [row["id"] for row in rows] == [big, None]


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        (Hooks(row_preprocessor=lambda row: [row]), "returned a list for a row"),
        (Hooks(batch_preprocessor=lambda frame: frame.to_dict()), "return a pandas DataFrame"),
        (Hooks(batch_preprocessor=lambda frame: frame.set_index("x")), "keep the index"),
        (Hooks(row_postprocessor=lambda row: {"id": row["id"]}), "left out 'x'"),
    ],
)
def test_a_hook_outside_its_contract_is_named(hooks, message, echo_task, table, loader):
    """A hook that returns the wrong thing is the task's error, not each row's."""
    with pytest.raises(HookError, match=message):
        list(predict_map(0, [table(4)], echo_task(hooks=hooks), 4, model_loader=loader))


@pytest.mark.promise("M3", "M23")
def test_rows_only_model(echo_task, table, loader):
    """A user's class with predict(rows) alone works, hooks and batch sizes included."""
    task = dataclasses.replace(
        echo_task(),
        features=[],
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "RowsOnly"}),
    )
    tally = Tally()
    rows = predicted(
        predict_map(0, [table(5)], task, 2, lambda row: row | {"x": -row["x"]}, model_loader=loader, tally=tally)
    )
    assert [row["predicted_class"] for row in rows] == ["0", "1", "0", "1", "0"]
    assert {row["confidence"] for row in rows} == {0.75}
    assert tally.batch_sizes == {"2": 2, "1": 1}


@pytest.mark.parametrize(
    "hooks",
    [
        Hooks(row_preprocessor=lambda row: None),
        Hooks(batch_preprocessor=lambda frame: frame[:0]),
        Hooks(row_postprocessor=lambda row: None),
        Hooks(batch_postprocessor=lambda frame: frame[:0]),
    ],
)
def test_a_hook_may_drop_every_row(hooks, echo_task, table, loader):
    """Nothing comes out, and every row is counted as dropped."""
    tally = Tally()
    batches = [table(3), table(2, 3)]
    assert list(predict_map(0, batches, echo_task(hooks=hooks), 2, model_loader=loader, tally=tally)) == []
    assert (tally.rows, tally.dropped, tally.balanced) == (5, 5, True)


def test_unknown_task_suggests_the_nearest(echo_task, table):
    """A misspelt name is answered with the nearest one."""
    with pytest.raises(UnknownTaskError, match="no ml_task 'ecko'; did you mean 'echo'"):
        list(predict_map(0, [table(1)], "ecko", model_loader=ModelLoader(".", [echo_task()])))


def test_missing_feature_column_names_those_there(echo_task, loader):
    """Before anything runs."""
    with pytest.raises(InputSchemaError, match="needs column 'x'.*Known: y"):
        list(predict_map(0, [pa.record_batch({"y": pa.array([1.0])})], echo_task(), model_loader=loader))
