"""Tables whose files are few, many, or of one large row group, and tables that have columns that nobody reads."""

import shutil
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from shapes.floats import FEATURES, network, rows_of, task, write
from shapes.networks import answers, build, stacked, with_answers
from shapes.shape import Target
from shapes.table_shape import TableShape, write_part
from sparktorch_assets import MlTask, NumericFeature


class OneRowGroup(TableShape):
    """A, with a model that is waited for, so that six slots need no six cores."""

    letter = "A"
    name = "one row group, a slow model, 6 slots"
    floor_is = "the rows divided evenly over 6 threads, each of which sleeps as long as the model does"
    target = Target(ratio=1.25)
    slots = 6
    batch_rows = 500
    rounds_at_most = 1  # without a cut within the row group, one round takes a minute
    row_s: ClassVar[float] = 1e-3

    @property
    def task(self) -> MlTask:
        """A model that sleeps."""
        features = [NumericFeature(columns=FEATURES[:2])]
        return task(model=network("sleeping", row_s=self.row_s), features=features)

    def prepare(self) -> None:
        """A minute's worth of sleep."""
        write(rows_of(self.sized(60_000, 600), columns=2), self.source / "one.parquet")

    def floor(self) -> Path:
        """Read once, predict in six threads, write once."""
        sleeping = build(None, torch.device("cpu"), "sleeping", row_s=self.row_s)
        rows = pq.read_table(self.source / "one.parquet")
        each = -(-len(rows) // self.slots)
        parts = [rows.slice(start, each) for start in range(0, len(rows), each)]

        def one(place: int) -> None:
            x_BF = stacked(parts[place], FEATURES[:2])
            parts[place] = with_answers(parts[place], answers(sleeping, x_BF, batch_rows=self.batch_rows))

        target = self.by_hand(one, list(range(len(parts))))
        write_part(pa.concat_tables(parts), target / "one.parquet")
        return target


class TinyFiles(TableShape):
    """G."""

    letter = "G"
    name = "5,000 files of 10 rows"
    floor_is = "all files read by threads into one table, which is predicted and written as one file"
    target = Target(ratio=2.0)
    rounds_at_most = 2

    def prepare(self) -> None:
        """Different rows in each file."""
        rows = rows_of(10 * self.sized(5_000, 20))
        for start in range(0, len(rows), 10):
            write(rows.slice(start, 10), self.source / f"{start:06}.parquet")

    def floor(self) -> Path:
        """Read all, predict, write."""
        mlp = build(None, torch.device("cpu"), "mlp")
        tables: list[pa.Table] = []

        def one(path: Path) -> None:
            tables.append(pq.ParquetFile(path).read(use_threads=False))

        target = self.by_hand(one, list(self.source.glob("*.parquet")))
        rows = pa.concat_tables(tables).combine_chunks()
        write_part(with_answers(rows, answers(mlp, stacked(rows, FEATURES))), target / "all.parquet")
        return target


class UnreadColumn(TableShape):
    """J. The values of the large column compress to nothing, so that only their size before that counts."""

    letter = "J"
    name = "1 MB per row in a column that is not kept"
    floor_is = "the same columns of one file at a time, read in each of 2 threads"

    @property
    def task(self) -> MlTask:
        """An MLP that does enough per row to show beside a job's start."""
        return task(model=network("mlp", width=2048), keep_columns=["id", *FEATURES])

    def prepare(self) -> None:
        """One file, many times; it has 0.5 GB of zeros."""
        blob = bytes(1_000_000)
        rows = rows_of(500)
        rows = rows.append_column("blob", pa.array([blob] * len(rows)))
        write(rows, self.source / "00.parquet", compression="zstd")
        for number in range(1, self.sized(24, 2)):
            shutil.copy(self.source / "00.parquet", self.source / f"{number:02}.parquet")

    def floor(self) -> Path:
        """Read the columns, predict and write, a file at a time in each thread."""

        def read(path: Path) -> pa.Table:
            return pq.ParquetFile(path).read(columns=["id", *FEATURES], use_threads=False)

        return self.each_file(read, width=2048)


class ManyColumns(TableShape):
    """C, from and to files, as kept columns always are."""

    letter = "C"
    name = "4,000 kept columns"
    floor_is = "one file at a time read, predicted and written in each of 2 threads"
    rounds_at_most = 2

    def prepare(self) -> None:
        """16 of the columns are features."""
        columns = self.sized(4_000, 40)
        rows = rows_of(8_000, columns)
        for number in range(4):
            ids = pa.array([f"{number}-{row:05}" for row in range(len(rows))])
            write(rows.set_column(0, "id", ids), self.source / f"{number}.parquet")
