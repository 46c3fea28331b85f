"""What was good before, and must stay so: skewed files, kept documents, nested columns, a selective `where`, images."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from PIL import Image

from shapes.floats import FEATURES, network, rows_of, task, write
from shapes.networks import answers, build, stacked, with_answers
from shapes.shape import Target
from shapes.table_shape import TableShape, write_part
from sparktorch_assets import ImageFeature, MlTask, RowFilter

_GROUP_ROWS = 50_000
_SIDE = 224


class SkewedFiles(TableShape):
    """The largest file has a third of all rows."""

    letter = "skew"
    name = "files of very different sizes"
    floor_is = "row groups, the largest files' first, read, predicted and written in each of 2 threads"

    def prepare(self) -> None:
        """24 files whose sizes fall."""
        weights = 1 / np.arange(1, 25) ** 1.2
        start = 0
        for number, weight in enumerate(weights / weights.sum()):
            count = self.sized(int(2_400_000 * weight), 10)
            rows = rows_of(count, seed=number, first=start)
            write(rows, self.source / f"{number:02}.parquet", row_group_size=_GROUP_ROWS)
            start += count

    def floor(self) -> Path:
        """A row group at a time."""
        mlp = build(None, torch.device("cpu"), "mlp")
        files = sorted(self.source.glob("*.parquet"))
        pieces = [(path, group) for path in files for group in range(pq.read_metadata(path).num_row_groups)]

        def one(piece: tuple[Path, int]) -> None:
            path, group = piece
            rows = pq.ParquetFile(path).read_row_group(group, use_threads=False)
            rows = with_answers(rows, answers(mlp, stacked(rows, FEATURES)))
            write_part(rows, self.folder / "floor" / f"{path.stem}-{group}.parquet")

        return self.by_hand(one, pieces)


class KeptDocuments(TableShape):
    """A text of 5 kB beside the features."""

    letter = "documents"
    name = "documents of 5 kB that are kept"
    floor_is = "one file at a time read, predicted and written in each of 2 threads"
    target = Target(ratio=1.0)

    def prepare(self) -> None:
        """Texts that compress about as texts do."""
        drawn = np.random.default_rng(0)
        words = np.array(["".join(map(chr, drawn.integers(97, 123, size))) for size in drawn.integers(2, 10, 2_000)])
        texts = [" ".join(drawn.choice(words, 800)) for _ in range(200)]
        for number in range(8):
            count = self.sized(25_000, 20)
            rows = rows_of(count, seed=number, first=number * count)
            documents = [f"{row} {texts[row % len(texts)]}" for row in range(len(rows))]
            write(rows.append_column("document", pa.array(documents)), self.source / f"{number}.parquet")


class NestedColumns(TableShape):
    """Lists of structs beside the features."""

    letter = "nested"
    name = "lists of structs that are kept"
    floor_is = "one file at a time read, predicted and written in each of 2 threads"
    target = Target(ratio=1.0)

    def prepare(self) -> None:
        """Five entries per row."""
        for number in range(8):
            count = self.sized(400_000, 20)
            rows = rows_of(count, seed=number, first=number * count)
            entries = np.arange(5 * len(rows))
            structs = pa.StructArray.from_arrays([pa.array(entries), pa.array(entries / 7)], names=["item", "price"])
            lists = pa.ListArray.from_arrays(pa.array(np.arange(0, len(entries) + 1, 5), pa.int32()), structs)
            write(rows.append_column("basket", lists), self.source / f"{number}.parquet")


class SelectiveWhere(TableShape):
    """One row in a hundred, spread over all row groups."""

    letter = "where"
    name = "`where` of 1 %"
    floor_is = "pyarrow's own filter on each file, in each of 2 threads, then predicted and written"
    target = Target(ratio=1.1)

    @property
    def task(self) -> MlTask:
        """With the condition."""
        return task(where=[RowFilter(column="part", op="==", value=7)])

    def prepare(self) -> None:
        """The parts take turns."""
        for number in range(8):
            count = self.sized(2_000_000, 200)
            rows = rows_of(count, seed=number, first=number * count)
            parts = pa.array(np.arange(len(rows), dtype=np.int32) % 100)
            write(rows.append_column("part", parts), self.source / f"{number}.parquet", row_group_size=100_000)

    def floor(self) -> Path:
        """Filter, predict, write."""

        def read(path: Path) -> pa.Table:
            return ds.dataset(path).to_table(filter=ds.field("part") == 7, use_threads=False).combine_chunks()

        return self.each_file(read)


class Photos(TableShape):
    """JPEG files of 640 x 480, which take longer to decode than to predict."""

    letter = "jpeg"
    name = "JPEG of 640 x 480 to 224 x 224"
    floor_is = "one file at a time in each of 2 threads: decoded, resized and scaled by Pillow and NumPy"
    batch_rows = 32

    @property
    def task(self) -> MlTask:
        """A network that takes no time; the images are not kept."""
        features = [ImageFeature(column="image", height=_SIDE, width=_SIDE)]
        return task(model=network("brightness"), features=features, keep_columns=["id"])

    def prepare(self) -> None:
        """Smooth noise, which compresses about as photographs do."""
        drawn = np.random.default_rng(0)
        images = []
        for number in range(8):
            coarse = drawn.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            file = io.BytesIO()
            noise = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
            noise.point(lambda value, low=number * 24: low + value // 4).save(file, "JPEG", quality=90)
            images.append(file.getvalue())
        each = self.sized(100, 4)
        for number in range(8):
            ids = [f"{number}-{row:05}" for row in range(each)]
            rows = pa.table({"id": ids, "image": [images[(number + row) % len(images)] for row in range(each)]})
            write(rows, self.source / f"{number}.parquet")

    def floor(self) -> Path:
        """Decode, predict, write."""
        brightness = build(None, torch.device("cpu"), "brightness")

        def decoded(content: bytes) -> torch.Tensor:
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)

        def one(path: Path) -> None:
            rows = pq.ParquetFile(path).read(use_threads=False)
            images = rows["image"].to_pylist()
            batches = [images[start : start + self.batch_rows] for start in range(0, len(images), self.batch_rows)]
            found = [answers(brightness, torch.stack([*map(decoded, batch)])) for batch in batches]
            columns = [pa.concat_arrays(parts) for parts in zip(*found, strict=True)]
            write_part(with_answers(rows.select(["id"]), columns), self.folder / "floor" / path.name)

        return self.by_hand(one, sorted(self.source.glob("*.parquet")))
