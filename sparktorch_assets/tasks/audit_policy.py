"""What has to hold before predictions are published: limits, drift from earlier publications, canaries, your own checks."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.code.import_path import check_import_path
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names, share

DRIFTS = ("class_share", "confidence", "number")
"""What may drift. Each has two limits: `max_<name>_psi` and `max_<name>_distance`."""

BUILT_IN = (
    *(f"{drift}_{measure}" for drift in DRIFTS for measure in ("psi", "distance")),
    "null_share",
    "min_rows",
    "canaries",
    "allowed_models",
)
"""The names of the checks that the fields declare; those of your own functions must differ from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPolicy:
    """Checks of what a run is about to publish. If one fails, the table stays as it was, and the finished parts are kept,
    so that they can still be published without scoring anything again.

    None is set by default. The checks that every table has (each row is accounted for, the failed and dropped shares, the
    ranges of its kind of output) are made in any case. Nothing here changes a prediction: no part is scored again when it
    is edited.

    Drift compares the statistics of the table, or partition, as it would be with those of earlier publications, taken
    together. There are two measures of it. The population stability index (Siddiqi, Credit Risk Scorecards, 2006) is the
    sum of (p - q) ln(p / q) over the classes or bins; by a common rule, below 0.1 nothing has changed and above 0.25 much
    has. The total variation distance is half the sum of |p - q|: the share of the rows that would have to change, from 0
    to 1.
    """

    history: int = 5
    """Number of earlier publications that drift is measured from. For a partition, these are its own, then those of the
    partitions before it."""
    max_class_share_psi: float | None = None
    """Limit of the population stability index of the shares of classes or labels."""
    max_class_share_distance: float | None = None
    """Limit of the total variation distance of these shares."""
    max_confidence_psi: float | None = None
    """Limit of the population stability index of the confidences, in 20 bins of equal width."""
    max_confidence_distance: float | None = None
    """Limit of the total variation distance of the confidences, in the same bins."""
    max_number_psi: float | None = None
    """Limit of the population stability index of the predicted numbers (or of what is counted of other outputs: norms of
    vectors, labels per row, tokens), in ten bins that hold equally many of them. With several columns of numbers, the one
    that has drifted furthest counts."""
    max_number_distance: float | None = None
    """Limit of the total variation distance of these numbers, in the same bins."""
    max_null_share: float | None = None
    """Limit of the share of the table's rows without a prediction: rows that failed, and rows whose class or number is
    null or NaN."""
    min_rows: int | None = None
    """The smallest number of rows that the table, or a partition, may have."""
    canaries: str | PurePath | None = None
    """A Parquet file under the models root with rows whose predictions are known: the task's input columns, and the
    expected values in columns with the names of output columns (`predicted_class`). A new model has to reproduce them
    before anything is scored with it."""
    canary_tolerance: float = 1e-3
    """How far a number may be from the expected one: absolutely, and relative to it if that is above 1."""
    allowed_models: Sequence[str] = ()
    """The model digests (`model_digest` on the asset's page) that may be used; if empty, any."""
    checks: Sequence[str] = ()
    """Your own checks, by import path (`my_project.checks:enough_rows`): functions of the `Statistics` of what would be
    published and of a list of the earlier ones, the latest first. They return what is wrong as text, or `None`."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.history < 1:
            raise TaskError(f"AuditPolicy.history={self.history!r} must be at least 1")
        for drift in DRIFTS:
            share(getattr(self, f"max_{drift}_distance"), f"AuditPolicy.max_{drift}_distance")
            _not_negative(getattr(self, f"max_{drift}_psi"), f"AuditPolicy.max_{drift}_psi")
        share(self.max_null_share, "AuditPolicy.max_null_share")
        _not_negative(self.min_rows, "AuditPolicy.min_rows")
        _not_negative(self.canary_tolerance, "AuditPolicy.canary_tolerance")
        if self.canaries is not None and not str(self.canaries).endswith(".parquet"):
            raise TaskError(
                f"AuditPolicy.canaries={str(self.canaries)!r} must be the path of a Parquet file (`.parquet`) under the models "
                f"root"
            )
        names(self.allowed_models, "AuditPolicy.allowed_models", empty=True)
        for digest in self.allowed_models:
            if not re.fullmatch("[0-9a-f]{64}", digest):
                raise TaskError(
                    f"AuditPolicy.allowed_models holds {digest!r}; a model digest has 64 hexadecimal digits in lower case. The "
                    f"asset's page shows it as model_digest"
                )
        for path in self.checks:
            check_import_path(path, "AuditPolicy.checks")
        functions = [check_name(path) for path in self.checks]
        names(functions, "AuditPolicy.checks", empty=True)
        for name in functions:
            if name in BUILT_IN:
                raise TaskError(
                    f"AuditPolicy.checks names a function {name!r}, as a check of this library is called; rename it"
                )

    def limit(self, check: str) -> float | None:
        """The limit of a drift check, by the check's name (`class_share_psi`)."""
        found: float | None = getattr(self, f"max_{check}")
        return found

    @property
    def drift_checks(self) -> tuple[str, ...]:
        """The names of the drift checks that have a limit."""
        named = (f"{drift}_{measure}" for drift in DRIFTS for measure in ("psi", "distance"))
        return tuple(name for name in named if self.limit(name) is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all checks that are declared."""
        single = {
            "null_share": self.max_null_share is not None,
            "min_rows": self.min_rows is not None,
            "canaries": self.canaries is not None,
            "allowed_models": bool(self.allowed_models),
        }
        return (
            *self.drift_checks,
            *(name for name, declared in single.items() if declared),
            *(check_name(path) for path in self.checks),
        )


def check_name(path: str) -> str:
    """The name of a check of the user's own: that of its function."""
    return path.rpartition(":")[2].replace(".", "_")


def _not_negative(value: float | None, field: str) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise TaskError(f"{field}={value!r} must be a number, and not below 0")
