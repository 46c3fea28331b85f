"""Numbers become columns, in the unit that people use.

Shapes: N rows of a window, B rows of a batch, K numbers per row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import nested_lists, slices_or
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, not_finite
from sparktorch_assets.predict.outputs.numbers import count_numbers, mark
from sparktorch_assets.predict.outputs.result import compare_numbers, find, tensor_of
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs import RegressionOutput
from sparktorch_assets.tasks.outputs.regression import OUTSIDE

if TYPE_CHECKING:
    import torch


class RegressionDecoder:
    """Scale, offset and exponential function, in double precision on the host."""

    def __init__(self, output: RegressionOutput, _labels: Sequence[str], where: str) -> None:
        self._output, self._where = output, where

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """`values` (B, K), float64 if the model gives that or whole numbers, else float32."""
        return {"values": self._values(forward)[: forward.rows].clone()}

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """One column per name, or one of lists."""
        output = self._output
        values_NK = np.full((window_rows, output.width), np.nan)
        for rows, found in outputs:
            values_NK[slices_or(rows)] = found["values"]
        with np.errstate(over="ignore", invalid="ignore"):
            values_NK = self._in_unit(values_NK, np.exp)
        failures = not_finite(np.logical_not(np.isfinite(values_NK).all(axis=1)), "numbers")
        if output.length is not None:
            return Decoded(
                columns={"predicted_values": nested_lists(values_NK, pa.list_(pa.float64()))}, failures=failures
            )
        columns = {name: pa.array(values_NK[:, place]) for place, name in enumerate(output.value_names)}
        return Decoded(columns=columns, failures=failures)

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By relative difference of each number, or of the list, in the unit of the table: in the model's own, numbers
        around the mean are near zero."""
        import torch

        one, other = (self._in_unit(self._values(by)[: by.rows].double(), torch.exp) for by in (reference, found))
        width = self._output.width if self._output.length is not None else 1
        return compare_numbers(zip(torch.split(one, width, dim=1), torch.split(other, width, dim=1), strict=True))

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows with a number that is missing, NaN or infinite."""
        failures: dict[int, RowFailure] = {}
        for name in self._output.value_names:
            column = columns[name]
            if self._output.length is None:
                bad = ~np.isfinite(column.to_numpy(zero_copy_only=False))
            else:
                bad = np.array([not _is_vector(item, self._output.width) for item in column.to_pylist()], dtype=bool)
            failures |= {
                int(row): RowFailure("forward", "NoNumber", f"the model gave no finite {name}")
                for row in np.flatnonzero(bad)
            }
        return failures

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Statistics of each column, and the numbers outside the declared range."""
        output = self._output
        for name in output.value_names:
            found = column(name).drop_null()
            found = found if output.length is None else found.flatten()
            values: npt.NDArray[np.float64] = found.to_numpy(zero_copy_only=False)
            count_numbers(name, values, tally)
            low = -np.inf if output.minimum is None else output.minimum
            high = np.inf if output.maximum is None else output.maximum
            mark(OUTSIDE, int((~((values >= low) & (values <= high))).sum()), tally)

    def _in_unit(self, values_NK: Any, exp: Callable[[Any], Any]) -> Any:
        """The numbers of an array or a tensor, in the table's unit."""
        scaled = values_NK * self._output.scale + self._output.offset
        return exp(scaled) if self._output.exp else scaled

    def _values(self, forward: Forward) -> "torch.Tensor":
        """The numbers (B, K), checked against the names; B counts the filling rows as well."""
        import torch

        rows, width = forward.computed, self._output.width
        found = find(forward.result, ["logits", "predictions", "prediction_outputs"])
        values = tensor_of(found, self._where, "a regression needs a tensor of numbers (B, K)")
        shape = tuple(values.shape)
        if width == 1 and shape == (rows,):
            values = values[:, None]
        if tuple(values.shape) != (rows, width):
            expected = f"({rows},) or ({rows}, 1)" if width == 1 else f"({rows}, {width})"
            raise ModelError(
                f"{self._where}: the model returned numbers of shape {shape} for {rows} rows; expected {expected}. "
                f"Declare one name per number (output: names), or the length of a list of numbers"
            )
        # Whole numbers above 2 ** 24 do not fit float32.
        short = values.dtype in (torch.float32, torch.float16, torch.bfloat16)
        return values.float() if short else values.double()


def _is_vector(item: Sequence[float | None] | None, width: int) -> bool:
    return item is not None and len(item) == width and all(value is not None and np.isfinite(value) for value in item)
