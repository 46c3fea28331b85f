"""How many rows a DataFrame had, counted by Spark while it reads them for another purpose."""

from typing import TYPE_CHECKING

from sparktorch_assets.errors import TableError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask, RowFilter

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


class InputCount:
    """Counts the DataFrame's rows while Spark reads them for the model: those that hooks drop leave no other trace."""

    def __init__(self, task: MlTask, dataframe: "DataFrame") -> None:
        """Count nothing yet: `dataframe` is the one to use from here on."""
        from pyspark.sql import Observation, functions

        self._task, self._observed = task, Observation()
        passing = functions.lit(True)
        for test in task.where:
            passing &= functions.coalesce(_passes(test), functions.lit(False))
        self.dataframe = dataframe.observe(
            self._observed,
            functions.count(functions.lit(1)).alias("rows"),
            functions.count_if(passing).alias("passing"),
        )

    def account(self, written: Tally) -> Tally:
        """The tally with filtered and dropped rows.

        Raises:
            TableError: rows are missing that nothing filters or drops.
        """
        # Without a row in any partition Spark reports nothing at all.
        found = {"rows": 0, "passing": 0} | {name: value or 0 for name, value in self._observed.get.items()}
        out, task = written.predicted + written.failed, self._task
        may_drop = task.hooks.preprocesses or task.hooks.postprocesses
        written.filtered = found["rows"] - (found["passing"] if may_drop else out) if task.where else 0
        written.dropped = found["rows"] - written.filtered - out
        if written.dropped < 0 or written.filtered < 0 or (written.dropped and not may_drop):
            raise TableError(
                f"task {task.name!r}: Spark read {found['rows']:,} rows and wrote {out:,}, and nothing says where the "
                f"others are (a DataFrame that gives other rows each time it is read, or a lost executor whose rows were "
                f"counted twice). Nothing was committed; run again"
            )
        written.rows = out + written.dropped
        return written


def _passes(test: RowFilter) -> "Column":
    from pyspark.sql import functions

    column = functions.col("`" + test.column.replace("`", "``") + "`")
    if test.op in ("in", "not in"):
        inside = column.isin(*(value for value in test.value if value is not None))  # type: ignore[union-attr]
        return inside if test.op == "in" else ~inside
    compare = {"==": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}[test.op]
    result: Column = getattr(column, compare)(test.value)
    return result
