"""What a hook leaves alone costs next to nothing."""

import sys

import pyarrow as pa

from sparktorch_assets.predict.rows.hooks import apply_row_hook


def calls(work):
    """Number of calls that Python code makes in `work`."""
    count = 0

    def note(_frame, event, _what):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


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
