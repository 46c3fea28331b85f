"""Reads source files with Spark: one job reads all new files and writes their rows as Parquet, one folder per source.
Below a local path, Spark writes them; in a store, Python workers do.

A second job runs only if the first one counted malformed rows. Nothing here touches the table itself: everything is
written to a staging folder.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from sparktorch_assets.errors import HostError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.spark.inputs.column_types import arrow_schema, spark_ddl
from sparktorch_assets.spark.inputs.places import places_of
from sparktorch_assets.spark.inputs.quotes import ends_open, is_cut_first
from sparktorch_assets.spark.inputs.sources import SourceFile, reader_options
from sparktorch_assets.spark.inputs.values import judge, judged_columns, types_to_read
from sparktorch_assets.spark.rows_in_store import write_to_store
from sparktorch_assets.spark.session.own_session import own_session
from sparktorch_assets.spark.session.stoppable import run_stoppable
from sparktorch_assets.spark.session.worker_python import explain_worker_failure
from sparktorch_assets.spark.written_count import WrittenCount
from sparktorch_assets.tasks.input_table import InputTable

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

GROUP_BYTES = 16 << 20
GROUP_ROWS = 131_072
"""Limits of a row group. Shards consist of whole row groups, which are small enough to balance and large enough to read
fast."""

_MAX_OPEN_FILES = 64
_RECORD = "__sparktorch_record"
_SOURCE = "__sparktorch_source"
_SPARK_REASON = re.compile(r"\[[A-Z_.]+\] [^\n]*")
_NO_FILE_SYSTEM = re.compile(r"FileSystem not found|No FileSystem for scheme|UNSUPPORTED_FILESYSTEM")
_SETTINGS = {
    # Otherwise Spark would sort by the source, and rows would not keep the order in which a task read them.
    "spark.sql.maxConcurrentOutputFileWriters": str(_MAX_OPEN_FILES),
    # Spark's default, INT96, is deprecated in Parquet, and Delta has only microseconds.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
    # Hadoop's default: with a lower one, longer lines would be dropped silently.
    "mapreduce.input.linerecordreader.line.maxlength": str(2**31 - 1),
    "parquet.page.write-checksum.enabled": "true",
    "parquet.page.verify-checksum.enabled": "true",
}
"""Settings that differ from Spark's defaults, whatever the user's session says."""


@contextmanager
def open_sources(spark: "SparkSession", table: InputTable, sources: Sequence[SourceFile]) -> "Iterator[SourceReader]":
    """A reader of a table's new source files (at least one), with a session of its own next to `spark`.

    Raises:
        TableError: a file cannot be read.
    """
    with own_session(spark, _SETTINGS) as own, places_of(own, sources) as places:
        yield SourceReader(own, table, places)


class SourceReader:
    """Reads source files on a session that has `_SETTINGS`; see `open_sources`."""

    def __init__(self, spark: "SparkSession", table: InputTable, places: Mapping[str, SourceFile]) -> None:
        self._spark, self._table, self._options = spark, table, reader_options(table)
        self._paths = [_escape_pattern(place if "://" in place else f"file://{place}") for place in places]
        self._data = self._open()
        self.folders = self._source_folders(places)
        """Name of the folder to which a source's rows are written -> source."""
        self.written: WrittenCount
        """The count of the rows that `write_rows` writes."""

    def write_rows(self, folder: Folder, staging: str) -> tuple[list[str], int]:
        """Write the well-formed rows under `staging`, one folder per source; `written` counts them.

        Args:
            folder: the table's folder.
            staging: the path below it.

        Returns:
            The paths of the files, relative to the folder, and the number of malformed rows.

        Raises:
            TableError: a file cannot be read, or has quoted texts with line breaks although `multiLine` is not
                declared.
        """
        from pyspark.sql import Observation, functions

        self._check_quotes()
        data, observed = self._data, None
        if self._table.format != "parquet":
            observed = Observation()
            malformed = functions.count_if(functions.col(_RECORD).isNotNull())
            data = data.observe(observed, malformed.alias("malformed"))
            data = data.where(functions.col(_RECORD).isNull())
        self.written = WrittenCount(data.select(_SOURCE, *self._columns()))
        with self._reading():
            schema = arrow_schema(self._table.typed_columns)
            files = self._write(self.written.dataframe, folder, staging, schema)
            return files, 0 if observed is None else int(observed.get["malformed"])

    def write_malformed(self, folder: Folder, staging: str) -> list[str]:
        """Write the text of the malformed rows under `staging`, one folder per source, in a column `record`, and return
        the paths of the files."""
        from pyspark.sql import functions

        with self._reading():
            records = self._malformed().select(_SOURCE, functions.col(_RECORD).alias("record"))
            return self._write(records, folder, staging, pa.schema([pa.field("record", pa.string())]))

    def count_malformed(self, files: int) -> list[tuple[SourceFile, int]]:
        """The sources with the most malformed rows, and the numbers of these; at most `files` of them."""
        from pyspark.sql import functions

        with self._reading():
            rows = self._malformed().groupBy(_SOURCE).count().orderBy(functions.desc("count")).limit(files)
            counts = run_stoppable(self._spark, rows.collect)
        return [(self.folders[f"{_SOURCE}={row[0]}"], int(row[1])) for row in counts]

    def _open(self) -> "DataFrame":
        table = self._table
        ddl = spark_ddl(types_to_read(table))
        reader = self._spark.read.options(**self._options)
        if table.format != "parquet":
            ddl += f", `{_RECORD}` string"
            reader = reader.options(mode="PERMISSIVE", columnNameOfCorruptRecord=_RECORD)
        with self._reading():
            if "timezone" in self._options:  # judged columns are cast, and casts use the session's time zone
                self._spark.conf.set("spark.sql.session.timeZone", self._options["timezone"])
            data = reader.schema(ddl).format(table.format).load(self._paths)
        data = data.withColumn(_SOURCE, _source_key())
        return self._judged(data) if judged_columns(table) else data

    def _judged(self, data: "DataFrame") -> "DataFrame":
        """The rows with judged columns cast to their types. A row is malformed if a judged value is."""
        from pyspark.sql import functions

        table, judged = self._table, judged_columns(self._table)
        columns, malformed = [], functions.lit(False)
        for (name, kind), column in zip(table.typed_columns, self._columns(), strict=True):
            if name in judged:
                value, is_malformed = judge(column, kind, table.format)
                columns.append(value.alias(name))
                malformed |= is_malformed
            else:
                columns.append(column)
        # Spark keeps a record's text only if Spark itself finds the record malformed.
        record = functions.when(malformed, self._written_anew())
        return data.select(_SOURCE, *columns, functions.coalesce(functions.col(_RECORD), record).alias(_RECORD))

    def _written_anew(self) -> "Column":
        """The text of a record, rebuilt from its columns as they were read."""
        from pyspark.sql import functions

        if self._table.format == "json":
            return functions.to_json(functions.struct(*self._columns()), self._options)
        kinds = [kind for _, kind in self._table.typed_columns]
        # to_csv shows bytes as numbers.
        columns = [c.cast("string") if kind == "binary" else c for kind, c in zip(kinds, self._columns(), strict=True)]
        return functions.to_csv(functions.struct(*columns), self._options)

    def _source_folders(self, places: Mapping[str, SourceFile]) -> dict[str, SourceFile]:
        # Spark's own spelling of the paths is hashed on both sides, so that differences in URL encoding do not matter.
        # But inputFiles() returns file:///x if a row's metadata says file:/x.
        folders: dict[str, SourceFile] = {}
        for uri in self._data.inputFiles():
            path = re.sub("^file:/+", "/", uri)
            source = places.get(unquote(path))
            for spelling in (uri, f"file:{path}"):
                digest = hashlib.md5(spelling.encode(), usedforsecurity=False).hexdigest()
                folders |= {} if source is None else {f"{_SOURCE}={digest}": source}
        unread = {source.name for source in places.values()} - {source.name for source in folders.values()}
        if unread:
            raise TableError(
                f"InputTable {self._table.name!r}: Spark does not read {min(unread)!r}, which matches the source patterns; "
                f"an option such as pathGlobFilter or modifiedBefore may exclude it"
            )
        return folders

    def _check_quotes(self) -> None:
        """Refuse CSV files with records that span several lines, unless the table says how to take them."""
        from pyspark.sql import functions

        if not is_cut_first(self._table, self._options):
            return
        given = {"lineSep": self._options["linesep"]} if "linesep" in self._options else {}
        with self._reading():
            lines = self._spark.read.options(**given).text(self._paths)
            open_lines = lines.where(ends_open(functions.col("value"), self._options))
            counted = open_lines.groupBy(_source_key().alias(_SOURCE)).count()
            found = run_stoppable(self._spark, counted.orderBy(functions.desc("count")).limit(5).collect)
        if found:
            worst = "; ".join(f"{row[1]:,} in {self.folders[f'{_SOURCE}={row[0]}'].name}" for row in found)
            raise TableError(
                f"InputTable {self._table.name!r}: lines end within a quoted text ({worst}), and Spark takes each line for "
                f"a record. If texts hold line breaks, set the option multiLine: true; if quotes mean nothing, quote: ''; "
                f"if each line is a record and these lines are broken, fix them, or set multiLine: false to take them "
                f"as they are. Nothing was committed"
            )

    def _columns(self) -> list[Any]:
        from pyspark.sql import functions

        return [functions.col(f"`{name.replace('`', '``')}`") for name, _ in self._table.typed_columns]

    def _malformed(self) -> "DataFrame":
        from pyspark.sql import functions

        # Spark parses only columns that are used, and finds nothing malformed in those that it does not parse. This
        # condition is always true, and uses all columns.
        all_parsed = functions.hash(*self._columns()) % 1 == 0
        return self._data.where(functions.col(_RECORD).isNotNull() & all_parsed)

    def _write(self, data: "DataFrame", folder: Folder, staging: str, schema: pa.Schema) -> list[str]:
        if not folder.is_local:
            limits = {"group_rows": GROUP_ROWS, "group_bytes": GROUP_BYTES}
            return write_to_store(self._spark, data, folder, staging, schema, by=_SOURCE, **limits)
        write = (
            data.write.partitionBy(_SOURCE)
            .option("parquet.block.size", GROUP_BYTES)
            .option("parquet.block.row.count.limit", GROUP_ROWS)
            .option("compression", "snappy")
        )
        run_stoppable(self._spark, lambda: write.parquet(f"file://{folder.full(staging)}"))
        return sorted(entry.path for entry in folder.files(staging) if entry.path.endswith(".parquet"))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
        from pyspark.errors import PySparkException

        try:
            yield
        except (
            PySparkException,
            Py4JJavaError,
        ) as error:  # pyspark does not convert the Java exception of a failed write
            host: HostError | None = explain_worker_failure(error)
            if host is not None:
                raise host from error
            text = str(error).strip()
            if _NO_FILE_SYSTEM.search(text):
                raise TableError(
                    f"InputTable {self._table.name!r}: on a cluster, Spark reads sources in a store itself, and this session has "
                    f"no Hadoop file system for that store. For S3, set spark.jars.packages to "
                    f"org.apache.hadoop:hadoop-aws:<Spark's version of Hadoop> before the session starts; or mount the store on "
                    f"all hosts, and name the mounted folder"
                ) from error
            reason = _SPARK_REASON.search(text)
            raise TableError(
                f"InputTable {self._table.name!r}: Spark cannot read the source files: "
                f"{reason[0] if reason else text.splitlines()[0]} Nothing was committed; fix or "
                f"remove the file, or correct the declared format and options"
            ) from error


def _source_key() -> "Column":
    from pyspark.sql import functions

    return functions.md5(functions.col("_metadata.file_path"))


def _escape_pattern(path: str) -> str:
    """A path with Hadoop's pattern characters escaped: Hadoop takes every path for a pattern."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", path)
