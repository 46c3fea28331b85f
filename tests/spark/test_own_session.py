"""What a user's session is set to changes no row that we read or write, and our work changes no setting of it."""

import datetime as dt
import gzip
import threading
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from sparktorch_assets.errors import TableError
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.inputs.read import open_sources
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.spark.session.own_session import _KEPT, own_session
from sparktorch_assets.spark.session.settings import session_settings
from sparktorch_assets.tasks import InputTable

COLUMNS = {"id": "int", "name": "string", "x": "double", "at": "timestamp", "day": "date"}
HOSTILE = {
    "fs.test.nobody": "1",
    "mapreduce.input.linerecordreader.line.maxlength": "40",
    "parquet.page.write-checksum.enabled": "false",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.caseSensitive": "true",
    "spark.sql.columnNameOfCorruptRecord": "name",
    "spark.sql.csv.parser.columnPruning.enabled": "false",
    "spark.sql.files.ignoreCorruptFiles": "true",
    "spark.sql.files.ignoreMissingFiles": "true",
    "spark.sql.files.ignoredPathSegmentRegex": ".*a.*",
    "spark.sql.files.maxRecordsPerFile": "1",
    "spark.sql.legacy.json.allowEmptyString.enabled": "true",
    "spark.sql.legacy.timeParserPolicy": "LEGACY",
    "spark.sql.optimizer.excludedRules": "org.apache.spark.sql.catalyst.optimizer.ColumnPruning",
    "spark.sql.parquet.binaryAsString": "true",
    "spark.sql.parquet.datetimeRebaseModeInRead": "LEGACY",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "LEGACY",
    "spark.sql.parquet.int96RebaseModeInRead": "LEGACY",
    "spark.sql.parquet.int96RebaseModeInWrite": "LEGACY",
    "spark.sql.parquet.outputTimestampType": "INT96",
    "spark.sql.parquet.writeLegacyFormat": "true",
    "spark.sql.session.timeZone": "Asia/Tokyo",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
}
ROWS = [
    (1, "a", 1.5, dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(1000, 1, 1)),
    (2, "b" * 60, None, dt.datetime(1500, 2, 28, 12, tzinfo=dt.UTC), dt.date(1582, 10, 1)),
]
TEXTS = {
    "csv": "id,name,x,at,day\n1,a,1.5,2024-01-01 00:00:00,1000-01-01\n"
    f"2,{'b' * 60},,1500-02-28 12:00:00,1582-10-01\nx,c,1,2024-01-01,2024-13-01\n",
    "json": '{"id":1,"name":"a","x":1.5,"at":"2024-01-01 00:00:00","day":"1000-01-01"}\n'
    f'{{"id":2,"name":"{"b" * 60}","at":"1500-02-28 12:00:00","day":"1582-10-01"}}\n'
    '{"id":"","name":"c","x":1,"at":"2024-01-01","day":"2024-01-01"}\n',
}


def session_of(spark, settings, where):
    """A session that somebody has set so, or that has it from the cluster's configuration, as all new ones there."""
    session = spark.newSession()
    for key, value in settings.items():
        session.conf.set(key, value)
    return session if where == "session" else SimpleNamespace(newSession=lambda: session, conf=spark.conf)


@pytest.fixture(params=["session", "cluster"])
def hostile(spark, request):
    """Everything is set that can change rows."""
    return session_of(spark, HOSTILE, request.param)


def declaration(kind):
    options = {"header": True} if kind == "csv" else {}
    return InputTable(
        name="things", source=["in/*"], format=kind, options=options, columns=COLUMNS, max_rejected_share=1
    )


def materialize(spark, folder, kind):
    return materialize_input(spark, declaration(kind), project_root=folder, table_uri=str(folder / "lake" / "things"))


def rows_of(uri):
    return sorted(tuple(row.values()) for row in DeltaTable(uri).to_pyarrow_table().to_pylist())


def write_source(folder, kind):
    (folder / "in").mkdir()
    if kind == "parquet":
        table = pa.table({name: [row[i] for row in ROWS] for i, name in enumerate(COLUMNS)})
        table = table.cast(
            pa.schema(
                list(
                    zip(
                        COLUMNS,
                        [pa.int32(), pa.string(), pa.float64(), pa.timestamp("us", "UTC"), pa.date32()],
                        strict=True,
                    )
                )
            )
        )
        pq.write_table(table, folder / "in" / "data.parquet", write_page_checksum=True)
    else:
        (folder / "in" / f"data.{kind}").write_text(TEXTS[kind])


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_hostile_settings_change_no_row(spark, hostile, tmp_path, kind):
    """Dates before 1582, long lines, times without a zone, malformed rows: as under Spark's own defaults."""
    write_source(tmp_path, kind)
    before = dict(hostile.conf.getAll)
    report = materialize(hostile, tmp_path, kind)
    assert rows_of(report.uri) == ROWS
    assert report.rejected_rows == (0 if kind == "parquet" else 1)
    assert hostile.conf.getAll == before
    for file in DeltaTable(report.uri).file_uris():
        assert pq.read_metadata(file).schema.column(3).physical_type == "INT64"


def test_a_corrupt_file_is_an_error_whatever_the_session_ignores(hostile, tmp_path):
    """Half of a compressed file gave half of its rows, committed for ever."""
    (tmp_path / "in").mkdir()
    whole = gzip.compress(("id,name,x,at,day\n" + "1,a,1.5,2024-01-01 00:00:00,1000-01-01\n" * 50_000).encode(), 1)
    (tmp_path / "in" / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TableError, match="cannot read"):
        materialize(hostile, tmp_path, "csv")
    assert not (tmp_path / "lake" / "things" / "_delta_log").exists()


def _a_page(path):
    chunk = pq.read_metadata(path).row_group(0).column(1)
    return chunk.data_page_offset + chunk.total_compressed_size - 1


@pytest.mark.promise("T24")
def test_spark_writes_checksums_and_verifies_those_of_its_sources(hostile, tmp_path):
    """A flipped bit is an error, in a source and in a part that Spark wrote."""
    write_source(tmp_path, "parquet")
    (part,) = DeltaTable(materialize(hostile, tmp_path, "parquet").uri).file_uris()
    for file in (Path(part), tmp_path / "in" / "data.parquet"):
        content, at = bytearray(file.read_bytes()), _a_page(file)
        content[at] ^= 0x10
        file.write_bytes(content)
    with pytest.raises(OSError, match="CRC|page"), pq.ParquetFile(part, page_checksum_verification=True) as file:
        file.read()
    with pytest.raises(TableError, match="cannot read"):
        materialize(hostile, tmp_path, "parquet")


@pytest.mark.parametrize("where", ["session", "cluster"])
def test_every_setting_that_can_be_switched_is_sparks_own_default(spark, where):
    """Those that later versions bring, too: whatever is set in the user's session or in the cluster's configuration."""
    fresh = spark.newSession()
    for key in [key for key in fresh.conf.getAll if key.startswith("spark.sql.") and fresh.conf.isModifiable(key)]:
        fresh.conf.unset(key)
    known = {row.key: row.value for row in fresh.sql("SET -v").collect()}
    switched = {
        key: "false" if value == "true" else "true"
        for key, value in known.items()
        if value in ("true", "false") and key.startswith("spark.sql.") and fresh.conf.isModifiable(key)
    }
    assert len(switched) > 80
    with own_session(session_of(spark, switched, where), {}) as own:
        found = {row.key: row.value for row in own.sql("SET -v").collect()}
    assert {
        key: (found[key], value) for key, value in known.items() if not key.startswith(_KEPT) and found[key] != value
    } == {}


def test_credentials_of_stores_come_along(spark, tmp_path):
    hostile = session_of(spark, HOSTILE, "session")
    write_source(tmp_path, "csv")
    sources = find_sources(declaration("csv"), tmp_path)
    with open_sources(hostile, declaration("csv"), sources) as reader:
        assert reader._spark.conf.get("fs.test.nobody") == "1"
        assert reader._spark.conf.get("mapreduce.input.linerecordreader.line.maxlength") == str(2**31 - 1)


class FakeSession:
    """One server-side session; each thread may hold another Python object for it."""

    session_id = "one"

    def __init__(self, values):
        self.values, self.conf = values, self

    def get(self, key, default):
        return self.values.get(key, default)

    def set(self, key, value):
        self.values[key] = value

    def unset(self, key):
        del self.values[key]


@pytest.mark.parametrize("before", [{"zone": "Berlin"}, {}], ids=["set", "not set"])
def test_threads_that_need_the_same_settings_leave_what_they_found(before):
    """However they overlap: inside the setting holds, and at the end it is the user's again."""
    values, wrong = dict(before), []
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait()
        for _ in range(200):
            with session_settings(FakeSession(values), {"zone": "UTC"}):
                if values.get("zone") != "UTC":
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert values == before
