"""Days before 1582-10-15 in files of Spark 2, or of its legacy mode, are refused: pyarrow reads them days off."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.table import Table

EARLY, LATE = dt.date(1582, 10, 14), dt.date(1582, 10, 15)
KINDS = {
    "date": pa.date32(),
    **{f"timestamp {unit}": pa.timestamp(unit) for unit in ("ms", "us", "ns")},
    "zoned": pa.timestamp("us", "UTC"),
    "list": pa.list_(pa.date32()),
    "struct": pa.struct([("d", pa.timestamp("us"))]),
    "map": pa.map_(pa.string(), pa.date32()),
}
LEGACY = [
    {b"org.apache.spark.version": b"3.5.0", b"org.apache.spark.legacyDateTime": b""},
    {b"org.apache.spark.version": b"3.5.0", b"org.apache.spark.legacyINT96": b""},
    {b"org.apache.spark.sql.parquet.row.metadata": b"{}"},
]
NEW = [{}, {b"org.apache.spark.version": b"4.0.0", b"org.apache.spark.sql.parquet.row.metadata": b"{}"}]


def values(kind, day):
    leaf = kind.field(kind.num_fields - 1).type if kind.num_fields else kind
    if pa.types.is_map(kind):
        leaf = kind.item_type
    if pa.types.is_timestamp(leaf):
        day = dt.datetime.combine(day, dt.time(23, 59) if day == EARLY else dt.time())
        day = day.replace(year=day.year + 100) if leaf.unit == "ns" else day  # those end in 1677
    value = {"list": [day], "struct": {"d": day}, "map": [("k", day)]}
    return [None, value.get(str(kind).partition("<")[0], day)]


def read(path, kind, day, keys):
    table = pa.table({"id": [1, 2], "d": pa.array(values(kind, day), kind)})
    pq.write_table(table.replace_schema_metadata(keys), path)
    return Table(str(path)).preview(9)


@pytest.mark.promise("T80")
@pytest.mark.parametrize("kind", [name for name in KINDS if name != "timestamp ns"])
@pytest.mark.parametrize("keys", LEGACY)
def test_early_days_of_the_older_calendar_are_refused(kind, keys, tmp_path):
    with pytest.raises(TableError, match="column 'd' holds days before 1582-10-15.*CORRECTED"):
        read(tmp_path / "t.parquet", KINDS[kind], EARLY, keys)
    assert len(read(tmp_path / "t.parquet", KINDS[kind], LATE, keys)) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", NEW)
def test_others_are_read_as_they_stand(kind, keys, tmp_path):
    for day in (EARLY, LATE):
        assert len(read(tmp_path / "t.parquet", KINDS[kind], day, keys)) == 2
