"""Checks CSV headers and Parquet footers of source files against the declared columns, before any Spark job.

Spark would match CSV columns by position, whatever the header says, and would fail on Parquet types late in the job.
"""

import bz2
import contextlib
import csv
import gzip
import io
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import InputSchemaError, TableError, nearest
from sparktorch_assets.spark.inputs.column_types import reads_as
from sparktorch_assets.spark.inputs.sources import SourceFile, reader_options
from sparktorch_assets.tasks.input_table import InputTable

_DECOMPRESSED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_READ_THREADS = 16


def check_sources(table: InputTable, sources: Iterable[SourceFile]) -> None:
    """Check every file's header (CSV with `header: true`) or footer (Parquet) against the declared columns.

    Raises:
        InputSchemaError: a file has other columns or types; the message names the file, and what was found and
            declared.
        TableError: a file cannot be read.
    """
    options = reader_options(table)
    if table.format == "parquet":
        check: Callable[[SourceFile], None] = lambda source: _check_footer(table, source)  # noqa: E731
    elif table.format == "csv" and options.get("header") == "true":
        check = lambda source: _check_header(table, source, options)  # noqa: E731
    else:
        return
    with ThreadPoolExecutor(_READ_THREADS) as pool:
        list(pool.map(check, sources))


def _check_header(table: InputTable, source: SourceFile, options: Mapping[str, str]) -> None:
    separator = options.get("sep", options.get("delimiter", ",")).replace("\\t", "\t")
    suffix = PurePath(source.uri or source.path).suffix
    if len(separator) != 1 or suffix in (".zst", ".snappy", ".lz4", ".deflate"):
        return  # Python cannot read these; Spark then matches columns by position
    encoding = options.get("encoding", options.get("charset", "utf-8"))
    quote, escape = options.get("quote", '"')[:1], options.get("escape", "")[:1]
    reading: dict[str, Any] = (
        {"delimiter": separator, "quotechar": quote} if quote else {"delimiter": separator, "quoting": csv.QUOTE_NONE}
    )
    if quote and escape not in ("", quote):
        reading |= {"doublequote": False, "escapechar": escape}
    decompressed = _DECOMPRESSED.get(suffix, contextlib.nullcontext)
    encoding = "utf-8-sig" if encoding.lower() == "utf-8" else encoding
    try:
        with (
            source.open() as opened,
            decompressed(opened) as content,
            io.TextIOWrapper(content, encoding=encoding, newline="") as file,
        ):
            comment = options.get("comment")
            lines = (line for line in file if line.strip() and not (comment and line.startswith(comment)))
            found = next(csv.reader(lines, **reading), None)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"InputTable {table.name!r}: cannot read {source}: {error}") from error
    if found is None:
        return  # an empty file has no rows that could be misread
    if "true" in (options.get("ignoreleadingwhitespace"), options.get("ignoretrailingwhitespace")):
        found = [name.strip() for name in found]
    declared = [name for name, _ in table.typed_columns]
    if found != declared:
        missing = [name for name in declared if name not in found]
        extra = [name for name in found if name not in declared]
        what = "; ".join(
            f"{kind}: {', '.join(names)}" for kind, names in (("missing", missing), ("not declared", extra)) if names
        )
        raise InputSchemaError(
            f"InputTable {table.name!r}: the header of {source} does not match the declared columns "
            f"({what or 'the order differs'}). Found: {', '.join(found)}. Declared: {', '.join(declared)}. CSV columns are "
            f"matched by position: declare all of them, in the file's order"
        )


def _check_footer(table: InputTable, source: SourceFile) -> None:
    try:
        with source.open() as opened:
            found = pq.read_schema(opened)
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"InputTable {table.name!r}: {source} is not a readable Parquet file: {error}") from error
    for name, declared in table.typed_columns:
        if name not in found.names:
            raise InputSchemaError(
                f"InputTable {table.name!r}: {source} has no column {name!r}; {nearest(name, found.names)}"
            )
        kind = found.field(name).type
        if not reads_as(kind, declared):
            raise InputSchemaError(
                f"InputTable {table.name!r}: column {name!r} of {source} has type {kind}, but is declared as "
                f"{declared}; declare the type that the file has, or write the file with the declared one"
            )
