"""Lists of labelled entries, spans or boxes: their Arrow form, their statistics, and what makes one invalid."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.predict.outputs.label_counts import count_labels, is_outside
from sparktorch_assets.predict.outputs.numbers import count_numbers, mark
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs.label_checks import OUTSIDE
from sparktorch_assets.tasks.outputs.labelled_entries import LabelledEntries


def entry_lists(counts: npt.NDArray[np.int64], fields: Mapping[str, pa.Array], kind: pa.DataType) -> pa.Array:
    """One list of structs per row.

    Args:
        counts: number of entries of each row.
        fields: the entries' fields, in the order of the rows.
        kind: the type of the column.
    """
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    members = [values.cast(field.type) for values, field in zip(fields.values(), kind.value_type, strict=True)]
    entries = pa.StructArray.from_arrays(members, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(offsets, entries).cast(kind)


def odd_entries(column: pa.Array, misplaced: Callable[[pa.Array], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """Which rows have no list, or one with an entry that is null, lacks a field, has a score outside [0, 1], or is
    misplaced."""
    entries = column.flatten()
    odd = _null_anywhere(entries) | is_outside(numbers_of(entries, "score")) | misplaced(entries)
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(column)), lengths)[odd]
    found: npt.NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False) | np.isin(
        np.arange(len(column)), rows
    )
    return found


def count_entries(
    column: pa.Array, output: LabelledEntries, misplaced: Callable[[pa.Array], npt.NDArray[np.bool_]], tally: Tally
) -> None:
    """Entries per label and per row, their scores, and what the checks look at."""
    lists = column.drop_null()
    entries = lists.flatten()
    count_labels(pc.struct_field(entries, "label"), tally)
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    mark(output.without, int((lengths == 0).sum()), tally)
    count_numbers(f"{output.entries} per row", lengths.astype(np.float64), tally)
    count_numbers("score", numbers_of(entries, "score"), tally)
    mark(OUTSIDE, int(is_outside(numbers_of(entries, "score")).sum()), tally)
    mark(output.misplaced, int(misplaced(entries).sum()), tally)


def numbers_of(entries: pa.Array, name: str) -> npt.NDArray[np.float64]:
    """A field of the entries, NaN where it is null."""
    found: npt.NDArray[Any] = pc.struct_field(entries, name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found.astype(np.float64)


def _null_anywhere(entries: pa.Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = entries.is_null().to_numpy(zero_copy_only=False)
    for field in entries.type:
        found = found | pc.struct_field(entries, field.name).is_null().to_numpy(zero_copy_only=False)
    return found
