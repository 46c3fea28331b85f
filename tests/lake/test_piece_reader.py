"""A shard is read in record batches whose size follows the columns that are read, not those that the file has."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_scorer import OUTPUT, plan_of

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.rows.piece_reader import PieceReader

ROWS = 2_000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A file with a number per row, and 50 kB that do not compress."""
    folder = tmp_path_factory.mktemp("wide")
    blobs = pa.array([np.random.default_rng(row).bytes(50_000) for row in range(ROWS)], pa.binary())
    table = pa.table({"x": pa.array(range(ROWS), pa.int64()), "a.b": blobs, "id": [f"{row}" for row in range(ROWS)]})
    pq.write_table(table, folder / "one.parquet", row_group_size=500)
    return folder


def batches_of(source, columns):
    (shard,) = plan_of(source, source.parent / "out", 1, OUTPUT, target_rows=ROWS).new
    with PieceReader(shard.pieces[0], pa.schema(columns)) as reader:
        return list(reader.batches())


def test_a_large_column_that_is_not_read_does_not_make_batches_small(source):
    """With 50 kB per row in another column, the numbers still come in whole row groups."""
    found = batches_of(source, [("x", pa.int64())])
    assert min(batch.num_rows for batch in found) >= 500
    assert pa.Table.from_batches(found)["x"].to_pylist() == list(range(ROWS))


def test_a_large_column_that_is_read_makes_batches_small(source):
    """A batch with the large column stays within tens of megabytes, also if its name contains a dot."""
    found = batches_of(source, [("x", pa.int64()), ("a.b", pa.binary())])
    assert max(batch.nbytes for batch in found) < 40 << 20
    assert len(found) > 2


class ReadsOfTheEnd(io.FileIO):
    """A file that counts how often its last bytes are read."""

    def __init__(self, path):
        super().__init__(path)
        self.size, self.count = path.stat().st_size, 0

    def read(self, size=-1):
        content = super().read(size)
        self.count += bool(content) and self.tell() == self.size
        return content


def test_a_footer_is_read_once(source, monkeypatch):
    """Each read is a request to a store. A small file is read as a whole."""
    files = []

    def opened(folder):
        files.append(ReadsOfTheEnd(source / "one.parquet"))
        return pa.PythonFile(files[0], mode="r")

    shard = plan_of(source, source.parent / "out", 1, OUTPUT, target_rows=ROWS).new[0]
    monkeypatch.setattr(Folder, "open_input", opened)
    with PieceReader(shard.pieces[0], pa.schema([("x", pa.int64())])):
        assert [file.count for file in files] == [1]
