"""Rows in this process, without files or Spark: hooks, and vocabularies. One thread on both sides."""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from shapes import library
from shapes.floats import FEATURES, network, rows_of, task
from shapes.networks import (
    answers,
    build,
    halve_first,
    halve_first_of_frame,
    stacked,
    with_answers,
)
from shapes.shape import Shape, Target, Way
from shapes.table_shape import SHOWN, cores
from sparktorch_assets import CategoricalFeature, Hooks, MlTask

READ_ROWS = 65_536


class RowsShape(Shape):
    """Record batches that are predicted in this process."""

    batches: list[pa.RecordBatch]

    @property
    @abstractmethod
    def task(self) -> MlTask:
        """What is predicted."""

    def before(self, way: Way) -> None:
        """One thread, as the library gives each slot where there are as many slots as cores."""
        torch.set_num_threads(1)

    def ours(self) -> pa.Table:
        """Predict."""
        return library.predict(self.made_task, self.batches, self.folder, slots=cores())

    @cached_property
    def made_task(self) -> MlTask:
        """The task, made once, as a run does."""
        return self.task

    def by_hand(self, change: Callable[[pa.RecordBatch], pa.Table]) -> pa.Table:
        """Predict what a hook made of each batch, beside the columns from before."""
        mlp = build(None, torch.device("cpu"), "mlp")
        return pa.concat_tables(
            with_answers(pa.Table.from_batches([batch]), answers(mlp, stacked(change(batch), FEATURES)))
            for batch in self.batches
        )

    def found(self, result: pa.Table) -> pa.Table:
        """The class of each id, in the input's order."""
        return result.select(SHOWN)


class RowHooks(RowsShape):
    """B."""

    letter = "B"
    name = "a row hook over 400 columns"
    floor_is = "batches to dicts by pyarrow, the hook, and back to a table of the same schema"

    @property
    def task(self) -> MlTask:
        """One column of each row is changed."""
        return task(hooks=Hooks(row_preprocessor="shapes.networks:halve_first"))

    def prepare(self) -> None:
        """In batches as large as the library's reader makes them."""
        self.batches = rows_of(self.sized(3_000, 50), 400).to_batches(max_chunksize=1_000)

    def floor(self) -> pa.Table:
        """To dicts, hook, back."""

        def change(batch: pa.RecordBatch) -> pa.Table:
            return pa.Table.from_pylist([halve_first(row) for row in batch.to_pylist()], schema=batch.schema)

        return self.by_hand(change)


class BatchHooks(RowsShape):
    """N."""

    letter = "N"
    name = "a batch hook"
    floor_is = "batches to pandas, the hook, and back to a table of the same schema"

    @property
    def task(self) -> MlTask:
        """One column is changed, in all rows at once."""
        return task(hooks=Hooks(batch_preprocessor="shapes.networks:halve_first_of_frame"))

    def prepare(self) -> None:
        """Enough for a second."""
        self.batches = rows_of(self.sized(1_500_000, 500)).to_batches(max_chunksize=READ_ROWS)

    def floor(self) -> pa.Table:
        """To pandas, hook, back."""

        def change(batch: pa.RecordBatch) -> pa.Table:
            frame = halve_first_of_frame(batch.to_pandas())
            return pa.Table.from_pandas(frame, schema=batch.schema, preserve_index=False)

        return self.by_hand(change)


class Vocabulary(RowsShape):
    """A vocabulary of many entries, which is a file of the model."""

    columns: ClassVar[list[str]]
    entries: ClassVar[int]
    rows: ClassVar[int]
    calls: ClassVar[int] = 1

    def prepare(self) -> None:
        """Values of which one in ten is unknown."""
        drawn = np.random.default_rng(0)
        count = self.sized(self.entries, 100)
        self.values = {name: [f"{name}-{number:08}" for number in range(count)] for name in self.columns}
        rows = self.sized(self.rows, 100)
        table: dict[str, Any] = {"id": [f"row-{row:012}" for row in range(rows)]}
        for name in self.columns:
            table[name] = [f"{name}-{number:08}" for number in drawn.integers(0, count * 10 // 9, rows)]
        self.batches = pa.table(table).to_batches(max_chunksize=READ_ROWS)
        self.known = {name: pa.array(values) for name, values in self.values.items()}
        self.prepare_model(self.folder)

    def prepare_model(self, folder: Path) -> None:
        """Write what the task names, if it names a file."""

    @property
    def task(self) -> MlTask:
        """Indices in the vocabulary, added up."""
        feature = CategoricalFeature(columns=self.columns, vocabulary=self.vocabulary)
        return task(model=network("categories"), features=[feature])

    @property
    @abstractmethod
    def vocabulary(self) -> Any:
        """The file's name, or the values themselves."""

    def ours(self) -> pa.Table:
        """Predict all rows, as often as calls are measured."""
        for _ in range(self.calls - 1):
            super().ours()
        return super().ours()

    def floor(self) -> pa.Table:
        """Look up, predict."""
        categories = build(None, torch.device("cpu"), "categories")
        rows = pa.Table.from_batches(self.batches)
        indices = []
        for name in self.columns:
            found = pc.fill_null(pc.add(pc.index_in(rows[name], self.known[name]), 1), 0)
            indices.append(found.to_numpy().astype(np.int64))
        return with_answers(rows, answers(categories, torch.from_numpy(np.stack(indices, axis=1))))


class VocabularyFile(Vocabulary):
    """H."""

    letter = "H"
    name = "a vocabulary of 1 M entries, 1 M rows"
    floor_is = "one look-up of the whole column by pyarrow"
    columns: ClassVar[list[str]] = ["c"]
    entries = 1_000_000
    rows = 1_000_000

    @property
    def vocabulary(self) -> str:
        """The file."""
        return "vocabulary.json"

    def prepare_model(self, folder: Path) -> None:
        """Write the file."""
        import json

        (folder / self.vocabulary).write_text(json.dumps(self.values))


class FewRowsOfVocabulary(VocabularyFile):
    """H, as in a notebook: the model is up, and 100 rows are asked for."""

    letter = "H 100"
    name = "a vocabulary of 1 M entries, 100 rows at a time, 100 times"
    floor_is = "a dict of the vocabulary that is made once, and asked value by value"
    target = Target(ratio=None, median_s=1.0)
    rows = 100
    calls = 100

    def prepare(self) -> None:
        """And the dict."""
        super().prepare()
        self.places = {value: place + 1 for place, value in enumerate(self.values["c"])}

    def sized(self, count: int, least: int = 1) -> int:
        """The same number of rows at every scale."""
        return count if count == self.rows else super().sized(count, least)

    def floor(self) -> pa.Table:
        """Look up, predict, as often as calls are measured."""
        categories = build(None, torch.device("cpu"), "categories")
        rows = pa.Table.from_batches(self.batches)
        for _ in range(self.calls):
            indices = torch.tensor([[self.places.get(value, 0)] for value in rows["c"].to_pylist()])
            found = with_answers(rows, answers(categories, indices))
        return found


class DeclaredVocabulary(Vocabulary):
    """I."""

    letter = "I"
    name = "4 vocabularies of 100,000 entries in the declaration"
    floor_is = "one look-up of each whole column by pyarrow"
    columns: ClassVar[list[str]] = ["c0", "c1", "c2", "c3"]
    entries = 100_000
    rows = 4_000_000

    @property
    def vocabulary(self) -> dict[str, list[str]]:
        """The values."""
        return self.values
