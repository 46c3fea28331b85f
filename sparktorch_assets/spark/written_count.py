"""Counts the rows that Spark's tasks write to a folder, which must be those that are then found in it.

On a cluster, a path that is not on storage of all hosts is another folder on each of them. Spark itself notices nothing:
its tasks succeed, and the driver finds a folder without their files.
"""

from typing import TYPE_CHECKING

from sparktorch_assets.errors import TableError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class WrittenCount:
    """Counts a DataFrame's rows while they are written."""

    def __init__(self, dataframe: "DataFrame") -> None:
        """Count nothing yet; write the attribute `dataframe` instead of the argument, once."""
        from pyspark.sql import Observation, functions

        self._observed = Observation()
        self.dataframe = dataframe.observe(self._observed, functions.count(functions.lit(1)).alias("rows"))

    def check(self, found_rows: int, place: str, folder: str) -> None:
        """Compare the rows that were found with those that were written.

        Args:
            found_rows: the number of rows in the folder's files.
            place: the declaration, for the message.
            folder: path or URI of the folder.

        Raises:
            TableError: the numbers differ.
        """
        written = int(self._observed.get.get("rows") or 0)  # nothing is reported if no partition has a row
        if found_rows != written:
            raise TableError(
                f"{place}: Spark's tasks wrote {written:,} rows to {folder!r}, and {found_rows:,} are there. On a cluster, "
                f"this folder has to be the same one on all hosts: a URI of an object store, or a path that is mounted "
                f"everywhere. Nothing was committed"
            )
