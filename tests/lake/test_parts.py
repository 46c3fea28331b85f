"""A part is whole or it does not count; writing one leaves nothing else behind."""

import datetime as dt
import errno
import json
import math
import re
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparktorch_assets.errors import DiskFullError, InputSchemaError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parquet.encodings import dictionary_columns
from sparktorch_assets.lake.parquet.stats import delta_stats
from sparktorch_assets.lake.parquet.types import cast_column, storage_schema
from sparktorch_assets.lake.parts.file import describe_part, part_path, verify_parts
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.tally import Tally

NAME = "0123456789abcdef" * 2
SCHEMA = pa.schema([("x", pa.float64()), ("s", pa.string())])


def batch_of(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"x": [float(row) for row in range(rows)], "s": ["s"] * rows}, schema=SCHEMA)


def write(folder: Folder, rows: int = 5):
    with PartWriter(folder, NAME, SCHEMA) as writer:
        writer.write(batch_of(rows))
        return writer.finish(Tally(rows=rows, predicted=rows))


def found(folder: Folder):
    return verify_parts(folder, folder.files())


@pytest.mark.promise("T16")
def test_a_finished_part_is_found_again_with_its_receipt(tmp_path):
    folder = Folder(str(tmp_path))
    part, receipt = write(folder)
    assert found(folder) == {part_path(NAME): (part, receipt)}
    assert (part.rows, receipt.tally.predicted) == (5, 5)
    assert describe_part(folder, part.path) == part
    assert [path.name for path in tmp_path.iterdir()] == [part.path]


@pytest.mark.promise("T16")
@pytest.mark.parametrize("keep", [0, 4, 11, 100, -1, -9])
def test_a_cut_part_never_counts(tmp_path, keep):
    write(Folder(str(tmp_path)))
    path = tmp_path / part_path(NAME)
    path.write_bytes(path.read_bytes()[:keep])
    assert found(Folder(str(tmp_path))) == {}


@pytest.mark.promise("T16")
def test_a_part_whose_middle_is_missing_never_counts(tmp_path):
    write(Folder(str(tmp_path)), rows=1000)
    path = tmp_path / part_path(NAME)
    content = path.read_bytes()
    path.write_bytes(content[:50] + content[500:])
    assert found(Folder(str(tmp_path))) == {}


def test_a_foreign_or_renamed_file_never_counts(tmp_path):
    folder = Folder(str(tmp_path))
    write(folder)
    (tmp_path / part_path(NAME)).rename(tmp_path / part_path("f" * 32))
    pq.write_table(pa.table({"x": [1]}), tmp_path / part_path("e" * 32))
    (tmp_path / part_path("d" * 32)).mkdir()
    assert found(folder) == {}


def test_speculative_copies_leave_one_part_and_agree_on_it(tmp_path):
    folder, results = Folder(str(tmp_path)), []
    barrier = threading.Barrier(8)

    def attempt():
        with PartWriter(folder, NAME, SCHEMA) as writer:
            writer.write(batch_of(100))
            barrier.wait()
            results.append(writer.finish(Tally(rows=100, predicted=100))[0])

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == [part_path(NAME)]
    assert set(results) == {results[0]}
    assert results[0].size_bytes == (tmp_path / part_path(NAME)).stat().st_size


def test_a_broken_file_under_the_name_gives_way(tmp_path):
    (tmp_path / part_path(NAME)).write_bytes(b"rubbish")
    part, _ = write(Folder(str(tmp_path)))
    assert part.path in found(Folder(str(tmp_path)))


def test_leaving_without_finish_leaves_nothing(tmp_path):
    with PartWriter(Folder(str(tmp_path)), NAME, SCHEMA) as writer:
        writer.write(batch_of(1 << 20))  # a whole row group: the file is open
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


class _FullDisk:
    """Takes some bytes, then none."""

    def __init__(self, path, room):
        self._file, self.room, self.closed = Path(path).open("wb"), room, False  # noqa: SIM115

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def tell(self):
        return self._file.tell()

    def flush(self):
        self._file.flush()

    def close(self):
        self.closed = True
        self._file.close()


@pytest.mark.parametrize("room", [0, 10, 600])
def test_a_full_disk_is_named_with_the_room_left_and_leaves_nothing(tmp_path, monkeypatch, room):
    folder = Folder(str(tmp_path))
    monkeypatch.setattr(
        Folder, "open_output", lambda self, path: pa.PythonFile(_FullDisk(self.full(path), room), mode="w")
    )
    with pytest.raises(DiskFullError, match=rf"{re.escape(str(tmp_path))}/part-.*: [\d,]+ bytes free"):
        write(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_part_without_rows_has_its_columns(tmp_path):
    with PartWriter(Folder(str(tmp_path)), NAME, SCHEMA) as writer:
        part, _ = writer.finish(Tally())
    assert part.rows == 0
    assert pq.read_schema(tmp_path / part.path).names == SCHEMA.names
    assert part.path in found(Folder(str(tmp_path)))


def test_describing_something_else_names_it(tmp_path):
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(TableError, match=r"x\.parquet is not a readable Parquet file"):
        describe_part(Folder(str(tmp_path)), "x.parquet")


COLUMNS = {
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "f": (pa.float64(), st.floats() | st.just(math.nan)),
    "s": (pa.string(), st.text(max_size=80)),
    "t": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(dt.UTC))),
    "d": (pa.date32(), st.dates()),
}


@settings(deadline=None)  # the first example pays for imports
@given(st.data())
def test_bounds_hold_for_every_value(data):
    """No value lies outside the file's bounds: NaN counts as the largest number, nulls as no value."""
    name = data.draw(st.sampled_from(sorted(COLUMNS)))
    kind, values = COLUMNS[name]
    column = data.draw(st.lists(st.none() | values, max_size=20))
    table = pa.table({name: pa.array(column, kind)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=5)
    nans = [name] if any(isinstance(value, float) and math.isnan(value) for value in column) else []
    footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    stats = json.loads(delta_stats(footer, table.schema, nans))
    assert stats["numRecords"] == len(column)
    if set(stats) == {"numRecords"}:  # no bounds at all, where one of them cannot be told
        assert nans or any(value is not None for value in column)
        return
    if column:
        assert stats["nullCount"][name] == column.count(None)

    def comparable(value):
        if isinstance(value, dt.datetime):
            return value.replace(tzinfo=None)
        return math.inf if isinstance(value, float) and math.isnan(value) else value

    def bound(text):
        if kind == COLUMNS["t"][0]:
            return dt.datetime.fromisoformat(text).replace(tzinfo=None)
        return dt.date.fromisoformat(text) if kind == pa.date32() else text

    filled = [comparable(value) for value in column if value is not None]
    assert not nans
    if filled:
        assert all(bound(stats["minValues"][name]) <= value <= bound(stats["maxValues"][name]) for value in filled)


@pytest.mark.parametrize("batches", [[[1.0, math.nan, 2.0]], [[1.0, math.nan, None]], [[1.0], [None, math.nan]]])
def test_a_file_with_a_nan_has_no_bounds(batches, tmp_path):
    """Parquet's own bounds leave NaN out, which Spark, DuckDB and Polars sort above every number."""
    with PartWriter(Folder(str(tmp_path)), NAME, SCHEMA) as writer:
        for values in batches:
            writer.write(pa.RecordBatch.from_pydict({"x": values, "s": ["a"] * len(values)}, schema=SCHEMA))
        part, receipt = writer.finish(Tally())
    assert receipt.nan_columns == ("x",)
    stats = json.loads(part.stats)
    assert stats == {"numRecords": sum(map(len, batches))}


def test_stored_types_lose_no_value():
    kinds = {
        "u8": (pa.uint8(), 255),
        "u32": (pa.uint32(), 2**32 - 1),
        "u64": (pa.uint64(), 2**64 - 1),
        "dict": (pa.dictionary(pa.int8(), pa.string()), "a"),
        "large": (pa.large_string(), "b"),
        "half": (pa.float16(), 0.5),
        "list": (pa.large_list(pa.uint8()), [255]),
        "ns": (pa.timestamp("ns"), dt.datetime(2013, 1, 1)),  # noqa: DTZ001
    }
    raw = pa.RecordBatch.from_arrays(
        [pa.array([value, None], kind) for kind, value in kinds.values()], names=list(kinds)
    )
    schema = storage_schema(raw.schema)
    stored = {field.name: cast_column(raw.column(field.name), field.type) for field in schema}
    assert storage_schema(schema) == schema
    assert [stored[name][0].as_py() for name in kinds] == [value for _, value in kinds.values()]
    with pytest.raises(InputSchemaError, match=r"column 'a' has type time64\[us\]"):
        storage_schema(pa.schema([("a", pa.time64("us"))]))


def test_dictionaries_go_where_values_repeat():
    rows = 20_000
    table = pa.table(
        {
            "unique": [f"id-{row}" for row in range(rows)],
            "few": [f"class-{row % 5}" for row in range(rows)],
            "floats": [row / 7 for row in range(rows)],
            "steps": [float(row % 4) for row in range(rows)],
            "lists": [[1.0]] * rows,
            "new": ["a"] * rows,
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["new"]), sink)
    footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    (batch,) = table.combine_chunks().to_batches()
    assert dictionary_columns(batch, footer, {"new"}) == ["few", "steps", "new"]
    # Without a dictionary in the source none is tried, whatever the first rows look like.
    sink = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["new"]), sink, use_dictionary=False)
    plain = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    assert dictionary_columns(batch, plain, {"new"}) == ["new"]


@pytest.mark.promise("T146")
def test_row_groups_are_small_enough_to_skip_and_have_bounds(tmp_path):
    """A reader that looks for one value opens one of them, by integers and by floating-point numbers."""
    rows = 300_000
    part, _ = write(Folder(str(tmp_path)), rows)
    footer = pq.read_metadata(tmp_path / part.path)
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    assert [group.num_rows for group in groups] == [100_000] * 3
    bounds = [(group.column(0).statistics.min, group.column(0).statistics.max) for group in groups]
    assert bounds == [(0.0, 99_999.0), (100_000.0, 199_999.0), (200_000.0, 299_999.0)]
    assert json.loads(part.stats)["maxValues"]["x"] == rows - 1


@pytest.mark.promise("T146")
@pytest.mark.parametrize(("rows", "expected"), [(0, []), (1, [1]), (131_072, [131_072]), (131_073, [65_537, 65_536])])
def test_no_row_group_is_left_with_a_few_rows(rows, expected, tmp_path):
    """They are of equal size."""
    part, _ = write(Folder(str(tmp_path)), rows)
    footer = pq.read_metadata(tmp_path / part.path)
    assert [footer.row_group(index).num_rows for index in range(footer.num_row_groups) if rows] == expected
