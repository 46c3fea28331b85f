"""Partitions that are found in the data: the values of a column."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.partitions.column_value import ColumnValues, value_reader
from sparktorch_assets.tasks.validation import ASSET_NAME, names, positive


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicPartitions(ColumnValues):
    """One partition per value that a column of text, whole numbers or dates holds. The input's asset registers new
    values each time it is materialized."""

    column: str
    """The column whose values are the partitions."""
    registered_by: str | None = None
    """The input table whose asset registers the values. `None`: the task's own input. Name it where the task's input is
    another task's predictions."""
    max_partitions_per_run: int | None = None
    """The most partitions that one run of a backfill refreshes. `None`: one run refreshes all of them, in one Spark
    job."""
    by: Literal["dynamic"] = "dynamic"
    """Tells the kinds of partitions apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        names((self.column,), "DynamicPartitions.column")
        if self.registered_by is not None and not re.fullmatch(ASSET_NAME, self.registered_by):
            raise TaskError(f"DynamicPartitions.registered_by={self.registered_by!r} is no name of an input table")
        positive(self.max_partitions_per_run, "DynamicPartitions.max_partitions_per_run")

    def table_column(self, column_types: Mapping[str, str], place: str) -> str:
        """The column by which the prediction table is partitioned.

        Raises:
            InputSchemaError: the column is missing, or its type cannot be used for partitions.
        """
        value_reader(self.column, column_types, place)
        return self.column
