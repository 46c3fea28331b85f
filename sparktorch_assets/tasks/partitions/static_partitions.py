"""Partitions that are listed: the values of a column."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.partitions.column_value import ColumnValues, unusable_as_key
from sparktorch_assets.tasks.validation import names, positive


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticPartitions(ColumnValues):
    """One partition per listed value of a column of text, whole numbers or dates. Rows with another value are in no
    partition."""

    column: str
    """The column whose values are the partitions."""
    values: Sequence[str | int | dt.date]
    """The values, in the order in which Dagster shows them."""
    max_partitions_per_run: int | None = None
    """The most partitions that one run of a backfill refreshes. `None`: one run refreshes all of them, in one Spark
    job."""
    by: Literal["static"] = "static"
    """Tells the kinds of partitions apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        names((self.column,), "StaticPartitions.column")
        names(self.keys, "StaticPartitions.values")
        for key in self.keys:
            problem = unusable_as_key(key)
            if problem:
                raise TaskError(f"StaticPartitions.values holds {key!r}; {problem}")
        positive(self.max_partitions_per_run, "StaticPartitions.max_partitions_per_run")

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all partitions."""
        return tuple(map(str, self.values))

    def table_column(self, column_types: Mapping[str, str], place: str) -> str:
        """The column by which the prediction table is partitioned.

        Raises:
            InputSchemaError: as `table_partitions`, for any of the partitions.
        """
        self.table_partitions(self.keys, column_types, place)
        return self.column
