"""Named tensors become columns as they are.

Shapes: N rows of a window, B rows of a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import nested_lists, odd_lists, scatter
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, not_finite
from sparktorch_assets.predict.outputs.numbers import count_numbers
from sparktorch_assets.predict.outputs.result import compare_numbers, find, names_in, tensor_of
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs import ColumnsOutput

if TYPE_CHECKING:
    import torch


class ColumnsDecoder:
    """One tensor per declared column."""

    def __init__(self, output: ColumnsOutput, _labels: Sequence[str], where: str) -> None:
        self._where = where
        self._kinds = {column.name: arrow_type(column.type) for column in output.main_columns}

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """One tensor per column, with as many dimensions as its type asks for."""
        return {name: self._tensor(forward, name)[: forward.rows].clone() for name in self._kinds}

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The columns; a whole number that its type cannot hold is an error, as the network gives the same type for all
        rows."""
        missing = np.zeros(window_rows, dtype=bool)
        columns = {}
        for name, kind in self._kinds.items():
            pieces = [(rows, self._arrow(name, found[name])) for rows, found in outputs]
            for rows, values in pieces:  # as they are stored: a double may be infinite as a float
                missing[rows] |= odd_lists(values)
            columns[name] = scatter(pieces, window_rows, kind)
        return Decoded(columns=columns, failures=not_finite(missing, "numbers"))

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By relative difference of each column."""
        return compare_numbers((self._flat(reference, name), self._flat(found, name)) for name in self._kinds)

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows without a value in a column, or with NaN, infinity or a null in it."""
        failures: dict[int, RowFailure] = {}
        for name in self._kinds:
            for row in np.flatnonzero(odd_lists(columns[name])):
                found = f"gave NaN, infinity or a null in {name}" if columns[name][row].is_valid else f"gave no {name}"
                failures[int(row)] = RowFailure("forward", "NoValue", f"the model {found}")
        return failures

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Statistics of the columns of single numbers."""
        for name, kind in self._kinds.items():
            if pa.types.is_floating(kind) or pa.types.is_integer(kind):
                values = column(name).drop_null().to_numpy(zero_copy_only=False)
                count_numbers(name, values.astype(np.float64), tally)

    def _arrow(self, name: str, values: npt.NDArray[Any]) -> pa.Array:
        try:
            return nested_lists(values, self._kinds[name])
        except pa.ArrowInvalid as error:
            raise ModelError(
                f"{self._where}: the model returned {name!r} as {values.dtype}, and its column is {self._kinds[name]}, which "
                f"cannot hold every value ({error}); declare long or double"
            ) from error

    def _flat(self, forward: Forward, name: str) -> "torch.Tensor":
        values = self._tensor(forward, name)[: forward.rows]
        return values[:, None] if values.ndim == 1 else values.flatten(1)

    def _tensor(self, forward: Forward, name: str) -> "torch.Tensor":
        import torch

        dimensions, kind = 1, self._kinds[name]
        while pa.types.is_list(kind):
            dimensions, kind = dimensions + 1, kind.value_type
        if pa.types.is_string(kind):
            raise ModelError(
                f"{self._where}: its output declares {name!r} as {self._kinds[name]}, but the model is a network, and "
                f"tensors hold no text; declare labels (classification or multilabel), or return a model object from "
                f"the factory"
            )
        single = 0 if len(self._kinds) == 1 else None
        what = (
            f"its output names the column {name!r}, and forward returned {names_in(forward.result)}: declare those names, or "
            f"return a dict, a named tuple or an object with that one"
        )
        found = tensor_of(find(forward.result, [name], single), self._where, what)
        if len(found) != forward.computed or found.ndim != dimensions:
            raise ModelError(
                f"{self._where}: the model returned {name!r} of shape {tuple(found.shape)} for {forward.computed} rows; "
                f"its type {self._kinds[name]} needs {dimensions} dimensions, the first of them the rows"
            )
        if found.is_floating_point() and not pa.types.is_floating(kind):
            raise ModelError(
                f"{self._where}: the model returned {name!r} as {found.dtype}, and its column is of whole numbers or "
                f"booleans ({kind}); declare float, or convert it in the network"
            )
        return found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
