"""Counts the rows of a DataFrame while Spark reads them for the model."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import TableError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.row_test import RowTest, row_tests

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType


class InputCount:
    """Counts a DataFrame's rows while Spark reads them for the model: rows that hooks drop leave no other trace."""

    def __init__(self, task: MlTask, dataframe: "DataFrame") -> None:
        """Count nothing yet; from here on, use the attribute `dataframe` instead of the argument.

        Raises:
            InputSchemaError: a column of the task's `where` is missing, or cannot be compared with its value.
        """
        from pyspark.sql import Observation, functions

        self._task, self._observed = task, Observation()
        passing = functions.lit(True)
        types = {field.name: field.dataType for field in dataframe.schema}
        wanted = {condition.column for condition in task.where}
        arrow_types = {name: _arrow_type(kind) if name in wanted else "" for name, kind in types.items()}
        for test in row_tests(task.where, arrow_types, f"task {task.name!r}"):
            passing &= functions.coalesce(_holds(test, types[test.column]), functions.lit(False))
        self.dataframe = dataframe.observe(
            self._observed,
            functions.count(functions.lit(1)).alias("rows"),
            functions.count_if(passing).alias("passing"),
        )

    def account(self, written: Tally) -> Tally:
        """Complete a tally with the numbers of filtered and dropped rows.

        Raises:
            TableError: rows are missing although nothing filters or drops them.
        """
        # Spark reports nothing at all if no partition has a row.
        found = {"rows": 0, "passing": 0} | {name: value or 0 for name, value in self._observed.get.items()}
        out, task = written.predicted + written.failed, self._task
        may_drop = task.hooks.preprocesses or task.hooks.postprocesses
        written.filtered = found["rows"] - (found["passing"] if may_drop else out) if task.where else 0
        written.dropped = found["rows"] - written.filtered - out
        if written.dropped < 0 or written.filtered < 0 or (written.dropped and not may_drop):
            raise TableError(
                f"task {task.name!r}: Spark read {found['rows']:,} rows and wrote {out:,}, and the "
                f"difference is unexplained (perhaps the DataFrame gives other rows each time it is read, or the rows "
                f"of a lost executor were counted twice). Nothing was committed; run again"
            )
        written.rows = out + written.dropped
        return written


def _arrow_type(kind: "DataType") -> str:
    """The name of the Arrow type with which values of this type reach the model."""
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import to_arrow_type

    try:
        return str(to_arrow_type(kind, timezone="UTC"))
    except PySparkException:
        return str(kind.simpleString())


def _holds(test: RowTest, kind: "DataType") -> "Column":
    """The test as a Spark column, with the same results as in `predict/rows/filter.py`; null if the column is null."""
    from pyspark.sql import functions

    column = _comparable(functions.col("`" + test.column.replace("`", "``") + "`"), test, kind)
    values = [_literal(value, test, kind) for value in test.values]
    if not values:
        return functions.lit(False) if test.op == "in" else column.isNotNull()
    if test.op in ("in", "not in"):
        inside = column.isin(*values)
        return inside if test.op == "in" else ~inside
    compare = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}[test.op]
    result: Column = getattr(column, compare)(values[0])
    # To Spark, NaN is greater than any number.
    return result & ~functions.isnan(column) if test.kind in ("float", "double") else result


def _comparable(column: "Column", test: RowTest, kind: "DataType") -> "Column":
    """The column in a form that Spark compares exactly: without collations, padding or time zones."""
    from pyspark.sql import functions
    from pyspark.sql.types import TimestampNTZType

    if test.kind in ("text", "binary"):
        return column.cast("binary")
    if test.kind in ("float", "double"):
        return column.cast("double")
    if test.kind == "boolean":
        return column.cast("int")
    if test.kind == "date":
        return functions.unix_date(column)
    if test.kind == "timestamp" and not isinstance(kind, TimestampNTZType):
        return functions.unix_micros(column)
    return column


def _literal(value: Any, test: RowTest, kind: "DataType") -> "Column":
    from pyspark.sql import functions
    from pyspark.sql.types import TimestampNTZType

    if test.kind in ("text", "binary"):
        raw = value.encode() if test.kind == "text" else value
        return functions.expr(f"X'{raw.hex()}'")
    if test.kind == "decimal":
        return functions.lit(f"{value:f}").cast(kind)
    if isinstance(kind, TimestampNTZType):
        time = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=value)  # noqa: DTZ001  (it has no zone)
        return functions.expr(f"TIMESTAMP_NTZ '{time.isoformat(sep=' ')}'")
    return functions.lit(value)
