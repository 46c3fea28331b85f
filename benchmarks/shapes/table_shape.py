"""Shapes of tables: files that `score_table` scores with a Spark session, beside a loop over the same files."""

import os
import shutil
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from shapes import library
from shapes.floats import FEATURES, task
from shapes.networks import answers, build, stacked, with_answers
from shapes.shape import Shape, Way
from sparktorch_assets import MlTask

SLOTS = 2
SHOWN = ["id", "predicted_class"]
"""The columns that both ways must agree on."""
_TEXTS = pa.schema([(name, pa.string()) for name in SHOWN])


class TableShape(Shape):
    """A folder of Parquet files."""

    slots = SLOTS
    batch_rows: ClassVar[int] = library.BATCH_ROWS

    @property
    def source(self) -> Path:
        """The input's files."""
        return self.folder / "source"

    @property
    def task(self) -> MlTask:
        """What is predicted: by default, an MLP over 16 floats, with all columns kept."""
        return task()

    @abstractmethod
    def prepare(self) -> None:
        """Write the files."""

    def before(self, way: Way) -> None:
        """Clear the output."""
        target = self.folder / way
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    def ours(self) -> Path:
        """Score the table."""
        target = self.folder / "ours"
        library.score(self.spark, self.source, self.task, target, slots=self.slots, batch_size=self.batch_rows)
        return target

    def floor(self) -> Path:
        """Read, predict and write one file at a time in each of as many threads as there are slots."""
        return self.each_file(partial(pq.read_table, use_threads=False))

    def each_file(self, read: Callable[[Path], pa.Table], **network: object) -> Path:
        """Read, predict by an MLP with these arguments, and write, a file at a time in each thread."""
        mlp = build(None, torch.device("cpu"), "mlp", **network)

        def one(path: Path) -> None:
            rows = read(path)
            rows = with_answers(rows, answers(mlp, stacked(rows, FEATURES)))
            write_part(rows, self.folder / "floor" / path.name)

        return self.by_hand(one, sorted(self.source.glob("*.parquet")))

    def by_hand(self, one: Callable[[Any], None], pieces: list[Any]) -> Path:
        """Do the pieces in as many threads as there are slots; the folder in which they wrote."""
        torch.set_num_threads(1)
        with ThreadPoolExecutor(self.slots) as pool:
            list(pool.map(one, pieces))
        return self.folder / "floor"

    def found(self, result: Path) -> pa.Table:
        """The class of each id."""
        return ids_and_classes(result)


def ids_and_classes(folder: Path) -> pa.Table:
    """The class of each id in the files below a folder, in the ids' order."""
    files = (pq.ParquetFile(path).read(columns=SHOWN) for path in folder.rglob("*.parquet"))
    return pa.concat_tables(rows.cast(_TEXTS) for rows in files).sort_by("id")


def write_part(rows: pa.Table, path: Path) -> None:
    """Write predictions with the encodings that are fastest."""
    pq.write_table(rows, path, use_dictionary=["predicted_class", "prediction_error"])


def cores() -> int:
    """The cores of this machine."""
    return os.cpu_count() or 1
