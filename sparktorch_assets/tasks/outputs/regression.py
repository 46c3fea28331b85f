"""Numbers: a regression, ranking scores, forecasts, quantiles."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.report import (
    CheckOutcome,
    CheckSpec,
    Shown,
    means_of,
    number_histograms,
    number_table,
)
from sparktorch_assets.tasks.outputs.truth import number_truth
from sparktorch_assets.tasks.outputs.truth_types import wrong_number
from sparktorch_assets.tasks.outputs.unlabelled import UnlabelledOutput
from sparktorch_assets.tasks.validation import names, positive

VALUES_IN_RANGE = "values_in_range"
OUTSIDE = "values outside the range"


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressionOutput(UnlabelledOutput):
    """Numbers: one column `predicted_<name>` per name, or one list of numbers per row in `predicted_values`.

    `forward` returns a tensor (B, number of names), or (B,) for a single one.
    """

    names: Sequence[str] = ("value",)
    """What each of the model's numbers is, in their order; `arrival_delay` gives the column `predicted_arrival_delay`."""
    quantiles: Sequence[float] = ()
    """For quantile heads, instead of `names`: 0.1 and 0.5 give the columns `predicted_p10` and `predicted_p50`."""
    length: int | None = None
    """Instead of `names`: this many numbers per row, such as the steps of a forecast, in the list `predicted_values`."""
    scale: float = 1.0
    """The model's numbers are multiplied by this, to undo a normalization."""
    offset: float = 0.0
    """Added after that."""
    exp: bool = False
    """Take the exponential function of the result, for models of a logarithm."""
    minimum: float | None = None
    """No number should be below this: a check counts those that are."""
    maximum: float | None = None
    """No number should be above this: a check counts those that are."""
    kind: Literal["regression"] = "regression"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        names(self.names, "RegressionOutput.names")
        positive(self.length, "RegressionOutput.length")
        for quantile in self.quantiles:
            if not 0 < quantile < 1:
                raise TaskError(f"RegressionOutput.quantiles holds {quantile!r}; a quantile lies between 0 and 1")
        if len(set(self.quantiles)) < len(self.quantiles):
            raise TaskError(f"RegressionOutput.quantiles={list(self.quantiles)!r} names one twice; drop the repetition")
        given = [field for field, value in (("quantiles", self.quantiles), ("length", self.length)) if value]
        given += ["names"] if tuple(self.names) != ("value",) else []
        if len(given) > 1:
            raise TaskError(f"RegressionOutput: {' and '.join(sorted(given))} are given; choose one of them")
        for field in ("scale", "offset"):
            if not math.isfinite(getattr(self, field)) or (field == "scale" and not self.scale):
                raise TaskError(
                    f"RegressionOutput.{field}={getattr(self, field)!r} must be a finite number other than 0"
                )
        for field in ("minimum", "maximum"):
            if getattr(self, field) is not None and not math.isfinite(getattr(self, field)):
                raise TaskError(
                    f"RegressionOutput.{field}={getattr(self, field)!r} must be a finite number; leave it out if there is "
                    f"no limit"
                )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise TaskError(f"RegressionOutput: minimum={self.minimum!r} is above maximum={self.maximum!r}")

    @property
    def incomparable(self) -> str:  # type: ignore[override]
        """Why `challenger_of` cannot compare predictions; empty if it can."""
        return (
            "" if self.length is None else "its numbers are one list per row; name them instead of giving their length"
        )

    @property
    def takes_truth(self) -> bool:
        """Whether predictions can be compared with a column of true values."""
        return self.length is None and len(self.value_names) == 1

    def wrong_truth(self, found: str) -> str | None:
        """What is wrong with a column of true values of this type; `None` if nothing is."""
        return wrong_number(found)

    @property
    def value_names(self) -> tuple[str, ...]:
        """The names of the columns of numbers; one for a list."""
        if self.length is not None:
            return ("predicted_values",)
        percents = [f"{quantile * 100:.6f}".rstrip("0").rstrip(".") for quantile in self.quantiles]
        heads = [f"p{percent}".replace(".", "_") for percent in percents] or self.names
        return tuple(f"predicted_{name}" for name in heads)

    @property
    def width(self) -> int:
        """Number of numbers per row."""
        return self.length or len(self.value_names)

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        kind = "double" if self.length is None else "list<double>"
        return tuple(OutputColumn(name=name, type=kind) for name in self.value_names)

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions, or the counts in receipts, in addition to the columns."""
        return {
            "kind": self.kind,
            "length": self.length,
            "scale": self.scale,
            "offset": self.offset,
            "exp": self.exp,
            "range": [self.minimum, self.maximum],
        }

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: a model object returns finished values."""
        return tuple(
            name for name, neutral in (("scale", 1), ("offset", 0), ("exp", False)) if getattr(self, name) != neutral
        )

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return dict.fromkeys(self.value_names, "What the model predicts; null where the row failed")

    @property
    def check_specs(self) -> tuple[CheckSpec, ...]:
        """The checks of a table."""
        if self.minimum is None and self.maximum is None:
            return ()
        low = "-∞" if self.minimum is None else f"{self.minimum:g}"
        high = "∞" if self.maximum is None else f"{self.maximum:g}"
        return (CheckSpec(name=VALUES_IN_RANGE, description=f"Every number lies in [{low}, {high}]"),)

    @property
    def number_names(self) -> tuple[str, ...]:
        """The statistics of numbers of which each predicted row has one; none for lists."""
        return self.value_names if self.length is None else ()

    def checks(self, tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:  # noqa: ARG002  (of all outputs)
        """The checks' outcomes for a table with this tally."""
        outside = tally.marks.get(OUTSIDE, 0)
        details = {OUTSIDE: outside, "predicted rows": tally.predicted}
        return tuple(CheckOutcome(name=spec.name, passed=outside == 0, details=details) for spec in self.check_specs)

    def page(self, tally: Tally) -> dict[str, Shown]:
        """What people look at first."""
        shown: dict[str, Shown] = {**number_truth(tally), "predictions": number_table(tally.numbers)}
        for name, found in list(tally.numbers.items())[:1]:
            if found.mean is not None:
                shown[f"{name}_mean"] = float(found.mean)
        return shown | number_histograms(tally.numbers)

    def figures(self, tally: Tally) -> dict[str, str]:
        """The same for programs, as JSON."""
        return {
            "number_means": means_of(tally.numbers),
            "number_quantiles": json.dumps(
                {
                    name: {share: found.quantile(share) for share in (0.05, 0.5, 0.95)}
                    for name, found in tally.numbers.items()
                }
            ),
        }
