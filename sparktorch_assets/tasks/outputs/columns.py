"""Anything else: named tensors become columns of declared types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.column import OutputColumn, is_value_type
from sparktorch_assets.tasks.outputs.report import (
    CheckOutcome,
    CheckSpec,
    Shown,
    means_of,
    number_histograms,
    number_table,
)
from sparktorch_assets.tasks.outputs.unlabelled import UnlabelledOutput
from sparktorch_assets.tasks.validation import freeze


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnsOutput(UnlabelledOutput):
    """Columns that you name: `forward` returns a dict, a named tuple or an object with a tensor for each name."""

    columns: Mapping[str, str] | tuple[tuple[str, str], ...]
    """Column -> type: `boolean`, `int`, `long`, `float` or `double` for tensors (B,), and one `list<...>` around it for
    each further dimension: `list<float>` for (B, N), `list<list<float>>` for (B, N, M). A model object may also return
    `string` and lists of it."""
    kind: Literal["columns"] = "columns"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""

    incomparable = "what the columns mean is known to your own code alone"
    """Why `challenger_of` cannot compare predictions."""

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "columns", freeze(self.columns, "ColumnsOutput.columns"))
        if not self.columns:
            raise TaskError("ColumnsOutput.columns is empty; name at least one column and its type")
        for column in self.main_columns:
            if not is_value_type(column.type):
                raise TaskError(
                    f"ColumnsOutput.columns gives {column.name!r} the type {column.type!r}; use boolean, int, "
                    f"long, float or double, or list<...> of these, once for each further dimension; or string, for a "
                    f"model object"
                )

    @property
    def number_names(self) -> tuple[str, ...]:
        """The statistics of numbers of which each predicted row has one."""
        return tuple(name for name, kind in dict(self.columns).items() if kind in ("int", "long", "float", "double"))

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        return tuple(OutputColumn(name=name, type=kind) for name, kind in dict(self.columns).items())

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions in addition to the columns."""
        return {"kind": self.kind}

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: there are none."""
        return ()

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return {column.name: "What the model returns under this name" for column in self.main_columns}

    @property
    def check_specs(self) -> tuple[CheckSpec, ...]:
        """The checks of a table: none, since nothing is known of the values."""
        return ()

    def checks(self, tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:  # noqa: ARG002  (of all outputs)
        """The checks' outcomes: none."""
        return ()

    def page(self, tally: Tally) -> dict[str, Shown]:
        """What people look at first."""
        if not tally.numbers:
            return {}
        return {"numbers": number_table(tally.numbers), **number_histograms(tally.numbers)}

    def figures(self, tally: Tally) -> dict[str, str]:
        """The same for programs, as JSON."""
        return {"number_means": means_of(tally.numbers)}
