"""Texts: how many threads tokenize them, and what very long ones cost."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from shapes import library
from shapes.floats import network, task
from shapes.networks import answers, build, with_answers
from shapes.shape import ProcessShape, Taken, Target, Way
from shapes.table_shape import SHOWN, cores
from sparktorch_assets import MlTask, TextFeature

MAX_TOKENS = 256


def byte_task() -> MlTask:
    """The first 256 bytes of a text."""
    features = [TextFeature(column="text", max_tokens=MAX_TOKENS)]
    return task(model=network("tokens"), features=features, keep_columns=["id"])


def by_hand(batches: list[pa.RecordBatch]) -> pa.Table:
    """Cut each text's bytes in a window, pad them, predict."""
    tokens = build(None, torch.device("cpu"), "tokens")
    tables = []
    for batch in batches:
        for start in range(0, batch.num_rows, library.BATCH_ROWS):
            window = batch.slice(start, library.BATCH_ROWS)
            column = window["text"]
            offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
            data = np.frombuffer(column.buffers()[2], np.uint8)
            lengths = np.minimum(np.diff(offsets), MAX_TOKENS)
            ids_BT = np.zeros((len(column), int(lengths.max())), np.int64)
            for row, (first, length) in enumerate(zip(offsets[:-1].tolist(), lengths.tolist(), strict=True)):
                ids_BT[row, :length] = data[first : first + length]
                ids_BT[row, :length] += 1
            ids = torch.from_numpy(ids_BT)
            rows = pa.Table.from_batches([window.select(["id"])])
            tables.append(with_answers(rows, answers(tokens, ids, ids > 0)))
    return pa.concat_tables(tables)


class LongTexts(ProcessShape):
    """L, a window at a time: 8,192 texts of 5 kB are 40 MB, of which the model sees 2 MB."""

    letter = "L"
    name = "the first 256 bytes of texts of 5 kB"
    floor_is = "the bytes of each text cut from Arrow's buffer into a padded batch"
    target = Target(peak_memory_ratio=1.3)

    def settle(self) -> None:
        """Make the texts, in the process itself, so that no copy of them counts; and a small go."""
        torch.set_num_threads(1)
        texts = self.texts()
        rows = pa.table({"id": [f"row-{row:09}" for row in range(len(texts))], "text": texts})
        few = rows.slice(0, 2).to_pydict()
        self.batches = pa.table({"id": few["id"], "text": [text[:100] for text in few["text"]]}).to_batches()
        self.ours()
        self.batches = rows.to_batches(max_chunksize=65_536)

    def texts(self) -> list[str]:
        """Texts of one byte per character that differ."""
        letters = np.random.default_rng(0).integers(97, 123, 20_000, dtype=np.uint8).tobytes().decode()
        return [letters[row % 10_000 :][:5_000] for row in range(self.sized(40_000, 20))]

    def prepare(self) -> None:
        """Nothing to write."""

    def ours(self) -> pa.Table:
        """Predict."""
        return library.predict(byte_task(), self.batches, self.folder, slots=cores()).select(SHOWN)

    def floor(self) -> pa.Table:
        """Cut, predict."""
        return by_hand(self.batches).select(SHOWN)


class GiantTexts(LongTexts):
    """L, as a table of a few whole books."""

    letter = "L giant"
    name = "the first 256 bytes of 4 texts of 100 MB"
    target = Target(ratio=None, peak_memory_ratio=1.3)

    def texts(self) -> list[str]:
        """Different first letters, then the same."""
        size = self.sized(100_000_000, 1_000)
        return [letter * size for letter in "abcd"]


class TokenizerThreads(ProcessShape):
    """K: the threads of a worker, not its time; a machine with two cores shows little of that."""

    letter = "K"
    name = "threads of `tokenizers` in all slots together"
    floor_is = "as many threads as the machine has cores"

    def prepare(self) -> None:
        """A tokenizer of a few words."""
        from tokenizers import Tokenizer, models, pre_tokenizers

        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.save(str(self.folder / "tokenizer.json"))

    def settle(self) -> None:
        """Nothing: threads start with the first texts."""

    def ours(self) -> int:
        """Predict texts in one of as many slots as there are cores; how many threads all slots have that are not
        Python's own nor were there before."""
        before = _native_threads()
        feature = TextFeature(column="text", tokenizer="tokenizer.json")
        texts = pa.table({"text": ["a b c"] * self.sized(20_000, 500)}).to_batches()
        library.predict(task(model=network("tokens"), features=[feature]), texts, self.folder, slots=cores())
        return cores() * (_native_threads("rayon") or max(0, _native_threads() - before))

    def floor(self) -> int:
        """The cores."""
        return cores()

    def found(self, result: Any) -> str:
        """Nothing to compare: the numbers are the measurement."""
        return ""

    def once(self, way: Way) -> Taken:
        """Count instead of timing."""
        taken = super().once(way)
        return Taken(seconds=float(taken.result), result=taken.result)


def _native_threads(name: str = "") -> int:
    """Threads of this process that no `threading.Thread` stands for, or all whose name contains this."""
    names = [(path / "comm").read_text() for path in Path("/proc/self/task").iterdir()]
    if name:
        return sum(name in found for found in names)
    return len(names) - len(threading.enumerate())
