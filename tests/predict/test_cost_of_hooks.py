"""What a hook leaves alone costs next to nothing."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from call_count import calls

from sparktorch_assets.predict.failures import Quarantine
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.rows.hooks import apply_batch_hook, apply_row_hook
from sparktorch_assets.tasks import Hooks


def test_no_python_code_runs_for_a_value_that_a_row_hook_leaves_alone():
    """Rows of 300 columns take as many calls more than rows of 3 as there are columns, however many rows there are."""

    def more_calls(rows):
        def of(columns):
            batch = pa.record_batch({f"c{place}": pa.array([0.5] * rows) for place in range(columns)})
            return calls(
                lambda: apply_row_hook(lambda row: row | {"c0": 1.0}, batch, "row_preprocessor", {}, pa.schema([]))
            )

        return of(300) - of(3)

    more_calls(20)  # the first go imports what pyarrow loads late
    assert more_calls(40) == more_calls(20)


@pytest.fixture
def takes(monkeypatch):
    """The columns and tables of which pyarrow takes rows, from now on."""
    taken, take = [], pc.take

    def noted(data, *arguments, **options):
        taken.append(data)
        return take(data, *arguments, **options)

    monkeypatch.setattr(pc, "take", noted)
    return taken


@pytest.mark.parametrize(
    ("hook", "least"),
    [
        (lambda frame: frame.assign(x=frame["x"] / 2), 0),
        (lambda frame: frame[frame["x"] > 0], 0),
        (lambda frame: frame[frame["x"] > 1], 1),
        (lambda frame: frame.sort_values("x", ascending=False), 1),
    ],
    ids=["unchanged", "all selected", "dropped", "reordered"],
)
def test_a_batch_hook_that_returns_all_rows_in_order_has_none_of_them_taken(hook, least, takes):
    """Whether the index is the hook's own or a new one. Rows that were dropped or reordered are taken."""
    batch = pa.record_batch({"id": pa.array([0, 1, 2]), "x": pa.array([1.0, 2.0, 3.0])})
    found = apply_batch_hook(hook, batch, "batch_preprocessor", {}, pa.schema([]), Quarantine("t"))
    assert min(len(takes), 1) == least
    assert found.batch.column("id").to_pylist() == found.rows.tolist() == sorted(found.rows.tolist())


@pytest.mark.parametrize(
    ("kind", "hook"),
    [
        ("row", lambda row: row | {"x": row["x"] / 2}),
        ("batch", lambda frame: frame.assign(x=frame["x"] / 2)),
    ],
)
def test_the_columns_of_a_table_are_not_copied_for_a_preprocessor_that_drops_no_row(kind, hook, echo_task, loader):
    """They get to the output in the memory in which they came."""
    batch = pa.record_batch({"id": pa.array([0, 1, 2]), "x": pa.array([1.0, 2.0, 3.0])})
    (found,) = predict_map(0, [batch], echo_task(hooks=Hooks(**{f"{kind}_preprocessor": hook})), 4, model_loader=loader)
    for name in batch.schema.names:
        assert found.column(name).buffers()[1].address == batch.column(name).buffers()[1].address
