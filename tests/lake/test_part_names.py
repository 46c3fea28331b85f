"""The names of parts that tables hold already: they are literals here, so that no change of the cut renames one by accident.

A table whose parts are renamed is scored anew, as a whole.
"""

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_scorer import INPUT, OUTPUT, conditions

from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.files.column_mapping import ColumnMapping
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.log.deletions import pack_rows
from sparktorch_assets.lake.parquet.footers import Footer, RowGroup
from sparktorch_assets.lake.scope import Scope, ScopeIndex
from sparktorch_assets.lake.shards import make_shards
from sparktorch_assets.tasks import RowFilter

SEEN = FileIdentity(host="h", device=1, inode=1, changed_ns=1, size_bytes=1, modified_ns=1)
WHOLE = (Scope(digest="d"),)


def file(name, **more):
    return DataFile(uri=f"/t/{name}", path=name, size_bytes=1_000, modified_ms=1_356_998_400_000, **more)


def footer(*rows, digest="f", bytes_of_row=10, packed=b""):
    groups = tuple(RowGroup(rows=count, bytes=count * bytes_of_row) for count in rows)
    return Footer(digest=digest, seen=SEEN, schema=INPUT, row_groups=groups, packed=packed)


def footer_of(values, group_rows):
    """A footer with bounds of `x`, whatever this version of pyarrow writes."""
    sink = pa.BufferOutputStream()
    table = pa.table({"id": ["a"] * len(values), "x": values}, schema=INPUT)
    pq.write_table(table, sink, row_group_size=group_rows)
    raw = sink.getvalue().to_pybytes()
    length = int.from_bytes(raw[-8:-4], "little")
    rows = [min(group_rows, len(values) - start) for start in range(0, len(values), group_rows)]
    return footer(*rows, packed=zlib.compress(raw[-8 - length :]))


def scope(low, high):
    """The rows with `low <= x < high`, as a partition of the output."""
    where = [RowFilter(column="x", op=">=", value=low), RowFilter(column="x", op="<", value=high)]
    return Scope(digest=f"x {low}", partition=(("at", str(low)),), tests=conditions(INPUT, where))


def gone(rows, *deleted):
    """The bits of a file of `rows` rows, some of which are deleted."""
    mask = np.zeros(rows, bool)
    mask[list(deleted)] = True
    return pack_rows(mask)


TABLES = {
    "one file": ([(file("a.parquet"), footer(5_000))], WHOLE),
    "a small file alone": ([(file("a.parquet"), footer(7))], WHOLE),
    "row groups": ([(file("a.parquet"), footer(300_000, 300_000, 0, 300_000, 7, digest="g"))], WHOLE),
    "wide rows": ([(file("a.parquet"), footer(*[2_000] * 5, bytes_of_row=40_000))], WHOLE),
    "a giant row group": ([(file("a.parquet"), footer(4_000_000, 5))], WHOLE),
    "several files": ([(file(f"{name}.parquet"), footer(5_000)) for name in "abc"], WHOLE),
    "small files between large ones": (
        [(file(f"{name}.parquet"), footer(rows)) for name, rows in zip("abcde", (9, 5_000, 9, 0, 5_000), strict=True)],
        WHOLE,
    ),
    "partitions of the input": (
        [
            (file(f"ds={day}/a.parquet", partition=(("ds", day),)), footer(5_000))
            for day in ("2013-01-01", "2013-01-02")
        ],
        WHOLE,
    ),
    "deleted rows": (
        [
            (file("a.parquet", deleted=gone(610_000, 3, 600_001)), footer(300_000, 300_000, 10_000)),
            (file("b.parquet", deleted=gone(2_000, *range(2_000))), footer(2_000)),
        ],
        WHOLE,
    ),
    "mapped columns": (
        [(file("a.parquet", mapping=ColumnMapping(mode="name", schema=INPUT)), footer(5_000))],
        WHOLE,
    ),
    "partitions of the output": (
        [(file("a.parquet"), footer_of([*range(6_000)], 2_000)), (file("b.parquet"), footer_of([*range(9_000)], 3_000))],
        (scope(0, 2_000), scope(2_000, 7_000), scope(20_000, 30_000)),
    ),
}  # fmt: skip

NAMES = {
    "one file": ["part-0bb1664f38be8cb9fd2817da2c43740c.parquet"],
    "a small file alone": ["part-0bb1664f38be8cb9fd2817da2c43740c.parquet"],
    "row groups": ["part-91a671d6c68291f80932a273a977fd3d.parquet", "part-2471f0dbd47e6ad0039614d8da3ca17f.parquet"],
    "wide rows": [
        "part-25dc624678d4df49e83aaaa9181a5796.parquet",
        "part-141068299f18aca52a107360cfad59f4.parquet",
        "part-13907c9bcfa647cfa8631224a8245246.parquet",
    ],
    "a giant row group": [
        "part-0bb1664f38be8cb9fd2817da2c43740c.parquet",
        "part-b34c0a61982327663c0811c39c5aafd7.parquet",
    ],
    "several files": [
        "part-0bb1664f38be8cb9fd2817da2c43740c.parquet",
        "part-b4634363335008882581bf28a12a2eca.parquet",
        "part-547f974a34244fdaf36bfbf6f9db69dc.parquet",
    ],
    "small files between large ones": [
        "part-0bb1664f38be8cb9fd2817da2c43740c.parquet",
        "part-b4634363335008882581bf28a12a2eca.parquet",
        "part-547f974a34244fdaf36bfbf6f9db69dc.parquet",
        "part-c6b41865c5284b5f33ea07a97c9568e2.parquet",
    ],
    "partitions of the input": [
        "part-35b0a02b7f5de654c2bce54bd918befb.parquet",
        "part-f2d5c649d7b30a2a5af7731bb41c47b3.parquet",
    ],
    "deleted rows": ["part-737445d336100a35fdc90f7a1c98d34e.parquet", "part-4689226d49e801039b3f6f2f18e0428a.parquet"],
    "mapped columns": ["part-0bb1664f38be8cb9fd2817da2c43740c.parquet"],
    "partitions of the output": [
        "at=0/part-d4a26315a8b99058fa7281af33ba2645.parquet",
        "at=0/part-b56edf757204c41078aefd62ca176377.parquet",
        "at=2000/part-b002f7a6afef24d5c378a9b00bd733b7.parquet",
        "at=2000/part-761227ea56c8e5320aee02eaccd54e7f.parquet",
    ],
}


def names(table):
    given, scopes = TABLES[table]
    files, footers = zip(*given, strict=True)
    found = make_shards(files, footers, ScopeIndex(scopes, OUTPUT))
    return [shard.part_path for shards in found.values() for shard in shards]


@pytest.mark.promise("T135")
@pytest.mark.parametrize("table", TABLES)
def test_tables_that_are_not_cut_anew_keep_the_names_of_their_parts(table):
    """Row groups that are not split, and files that have no small neighbour."""
    assert names(table) == NAMES[table]
