"""Work that is doubled three times: files, columns, partitions, tasks. Scored with Spark, from nothing each time."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from shapes import library
from shapes.floats import rows_of, task, write
from shapes.shape import Growth, Target
from shapes.table_shape import SLOTS
from sparktorch_assets import MlTask, SlotPolicy


class TableGrowth(Growth):
    """A table that is scored as a whole."""

    slots = SLOTS

    @property
    def source(self) -> Path:
        """The input's files."""
        return self.folder / "source"

    def before(self) -> None:
        """Clear the output."""
        shutil.rmtree(self.folder / "target", ignore_errors=True)

    def ours(self) -> Any:
        """Score."""
        return library.score(self.spark, self.source, task(), self.folder / "target")


class Files(TableGrowth):
    """Small files, which cost as much as files can."""

    letter = "files"
    name = "files of 10 rows"
    smallest = 250

    def prepare(self) -> None:
        """One file under many names."""
        write(rows_of(10), self.source / "000000.parquet")
        for number in range(1, self.units):
            shutil.copyfile(self.source / "000000.parquet", self.source / f"{number:06}.parquet")


class Columns(TableGrowth):
    """Kept columns."""

    letter = "columns"
    name = "kept columns"
    smallest = 500

    def prepare(self) -> None:
        """Two files."""
        rows = rows_of(2_000, max(16, self.units))
        for number in range(2):
            write(rows, self.source / f"{number}.parquet")


class Partitions(TableGrowth):
    """All partitions in one run; the number of rows grows with them."""

    letter = "partitions"
    name = "partitions"
    smallest = 25

    def prepare(self) -> None:
        """A file for ten partitions."""
        for start in range(0, self.units, 10):
            keys = range(start, min(start + 10, self.units))
            rows = rows_of(200 * len(keys), first=200 * start)
            values = pa.array([f"p{key:05}" for key in keys for _ in range(200)])
            write(rows.append_column("key", values), self.source / f"{start:06}.parquet")

    def ours(self) -> Any:
        """Score all partitions."""
        from sparktorch_assets import TablePartition, score_partitions

        return score_partitions(
            self.spark,
            str(self.source),
            task(),
            output_table=str(self.folder / "target"),
            model_loader=library.loader(self.folder),
            partitions=[
                TablePartition(key=key, column="key", value=key, where=())
                for key in (f"p{number:05}" for number in range(self.units))
            ],
            slots=SlotPolicy(slots=SLOTS, device="cpu"),
            batch_size=library.BATCH_ROWS,
        )


class Tasks(TableGrowth):
    """A run of many assets over one small table, one after the other. The largest size has 48 of them."""

    letter = "tasks"
    name = "tasks over one small table"
    smallest = 6
    target = Target(ratio=None, exponent=1.1, median_s=48 * 0.13)

    def prepare(self) -> None:
        """One file."""
        write(rows_of(1_000), self.source / "0.parquet")
        self.tasks: list[MlTask] = [task(f"task_{number}") for number in range(self.units)]

    def ours(self) -> Any:
        """Score each."""
        for one in self.tasks:
            library.score(self.spark, self.source, one, self.folder / "target" / one.name)
