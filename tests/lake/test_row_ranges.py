"""What is read piece by piece is what the files hold, however they are cut; and no piece costs what lies behind it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_scorer import (  # fmt: skip
    CUTS,
    INPUT,
    batches_of,
    carry_out,
    conditions,
    expected_rows,
    pieces_of,
    plan_of,
    refresh,
    rows_of,
    write_file,
)

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.rows import piece_reader
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.table import Table
from sparktorch_assets.tasks import RowFilter

NESTED = pa.schema(
    [
        ("x", pa.int64()),
        ("tags", pa.list_(pa.string())),
        ("at", pa.struct([("day", pa.int32()), ("parts", pa.list_(pa.float64()))])),
    ]
)


def nested(count):
    """Rows with lists of any length, nulls in between, and structs that hold lists."""
    return pa.Table.from_pylist(
        [
            {
                "x": number if number % 7 else None,
                "tags": None if number % 5 == 0 else ["t" * (number % 3)] * (number % 4),
                "at": None if number % 11 == 0 else {"day": number, "parts": [number / 2] * (number % 3)},
            }
            for number in range(count)
        ],
        schema=NESTED,
    )


@pytest.mark.promise("T134", "T136")
@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    group_rows=st.integers(1, 60),
    target_rows=st.sampled_from([1, 20, 2_000]),
    shard_rows=st.none() | st.integers(1, 30),
    batch_rows=st.integers(1, 70),
)
def test_pieces_hold_the_rows_of_the_files(tmp_path_factory, counts, group_rows, target_rows, shard_rows, batch_rows):
    """Nested columns too, and however many rows are decoded at once."""
    source = tmp_path_factory.mktemp("nested")
    tables = [nested(count) for count in counts]
    for name, table in zip("abcd", tables, strict=False):
        pq.write_table(table, source / f"{name}.parquet", row_group_size=group_rows)
    plan = make_plan(
        Table(str(source)), Table(str(source / "out")), schema=NESTED, digest="d",
        target_rows=target_rows, shard_rows=shard_rows,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(piece_reader, "_BATCH_ROWS", batch_rows)
        found = [batch for piece in pieces_of(plan.new) for batch in batches_of(piece, NESTED)]
    assert all(batch.num_rows for batch in found)
    assert pa.Table.from_batches(found, NESTED).to_pylist() == pa.concat_tables(tables).to_pylist()
    assert plan.rows == sum(counts)


@pytest.mark.promise("T134")
@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    group_rows=st.integers(1, 60),
    shard_rows=st.integers(1, 20),
    low=st.integers(0, 9),
    below=st.integers(0, 10),
)
def test_a_piece_counts_its_own_rows_alone(tmp_path_factory, values, group_rows, shard_rows, low, below):
    """Row groups that are skipped for `where`, or as those of other partitions, count with the rows of the range."""
    source = tmp_path_factory.mktemp("ranges")
    write_file(source, "a", sorted(values), group_rows)
    where = conditions(INPUT, [RowFilter(column="x", op="<", value=below)])
    inside = conditions(INPUT, [RowFilter(column="x", op=">=", value=low)])
    rows = {"outside": 0, "filtered": 0, "read": []}
    for piece in pieces_of(plan_of(source, source / "out", 1, shard_rows=shard_rows).new):
        with PieceReader(piece, INPUT, where, inside) as reader:
            mine = [value for batch in reader.batches() for value in batch["x"].to_pylist()]
            assert len(mine) + reader.outside_rows + reader.filtered_rows == piece.rows
            rows["outside"] += reader.outside_rows
            rows["filtered"] += reader.filtered_rows
            rows["read"] += mine
    assert [value for value in rows["read"] if low <= value < below] == [v for v in sorted(values) if low <= v < below]
    assert rows["outside"] <= sum(value < low for value in values)
    assert rows["filtered"] <= sum(low <= value >= below for value in values)


def large_group(path: Path) -> int:
    """A file with one row group, whose pages are not compressed; its number of rows."""
    rows = 1_000_000
    table = pa.table({"id": pa.array(["a"]).take(pa.array(np.zeros(rows, int))), "x": np.arange(rows)}, schema=INPUT)
    pq.write_table(
        table, path, row_group_size=rows, compression="none", use_dictionary=["id"], write_page_checksum=True
    )
    return rows


@pytest.mark.promise("T134")
def test_a_piece_reads_no_page_behind_its_own_rows(tmp_path):
    """A page that is damaged there costs the other pieces nothing, and the one that needs it an error with its file."""
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "a.parquet"
    rows = large_group(path)
    content = path.read_bytes()
    place = content.rindex(np.arange(rows - 64, rows).tobytes())
    path.write_bytes(content[:place] + bytes(64) + content[place + 64 :])
    pieces = pieces_of(plan_of(tmp_path / "source", tmp_path / "out", 1, shard_rows=100_000).new)
    assert [piece.rows for piece in pieces] == [100_000] * 10
    for number, piece in enumerate(pieces[:-1]):
        found = pa.Table.from_batches(batches_of(piece))["x"]
        assert pc.equal(found, pa.array(np.arange(number * 100_000, (number + 1) * 100_000))).to_numpy().all()
    with pytest.raises(TableError, match=r"a\.parquet.*damaged"):
        list(batches_of(pieces[-1]))


@pytest.mark.promise("T136")
def test_a_small_file_that_is_gone_is_named(tmp_path):
    """Among those that share its shard."""
    for name in "abc":
        write_file(tmp_path / "source", name, [1, 2, 3])
    plan = plan_of(tmp_path / "source", tmp_path / "out", 1, **CUTS["small files"])
    assert [len(shard.pieces) for shard in plan.new] == [3]
    (tmp_path / "source" / "b.parquet").unlink()
    with pytest.raises(TableError, match=r"b\.parquet' is no longer the file"):
        carry_out(plan, tmp_path / "out", 1)


@pytest.mark.promise("T134", "T136")
@pytest.mark.parametrize("cut", CUTS)
def test_a_table_follows_its_input_however_it_is_cut(tmp_path, cut):
    """New, rewritten and removed files; and a second refresh has nothing to do."""
    source, table = tmp_path / "source", tmp_path / "table"
    for name in "abcdef":
        write_file(source, name, [*range(10)], group_rows=10)
    refresh(source, table, 1, **CUTS[cut])
    parts = {"row groups": 6, "row ranges": 60, "small files": 1}[cut]
    assert len(Table(str(table)).snapshot.parts) == parts
    write_file(source, "c", [7] * 5)
    write_file(source, "g", [8])
    (source / "a.parquet").unlink()
    _, computed = refresh(source, table, 1, **CUTS[cut])
    assert rows_of(table) == expected_rows(source, 1)
    assert len(computed) == {"row groups": 3, "row ranges": 6, "small files": 1}[cut]
    assert refresh(source, table, 1, **CUTS[cut]) == (None, [])
