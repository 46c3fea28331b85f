"""A finished part: what a commit needs to know of it, and whether a file that bears a part's name is one."""

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.folder import Folder, FolderEntry
from sparktorch_assets.lake.parquet.stats import delta_stats
from sparktorch_assets.lake.partition_values import Partition, partition_folder, path_partition
from sparktorch_assets.lake.parts.receipt import RECEIPT_KEY, Receipt

PART_NAME = re.compile(r"(?:.*/)?part-([0-9a-f]{32})\.parquet")
NUMBERED_PART_NAME = re.compile(r"(?:.*/)?part-([0-9a-f]{32})-(\d{5})(?:-[0-9a-f]{16})?\.parquet")
"""Parts that Spark wrote: of an input table (named by the source file that they hold, their number and their content) or of
a DataFrame (named by their content and a number). They carry no receipt."""
READ_THREADS = min(32, 4 * (os.cpu_count() or 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFile:
    """A Parquet file that lies in a table's folder, ready to be committed."""

    path: str
    """Relative to the table's root."""
    size_bytes: int
    modified_ms: int
    rows: int
    stats: str
    """Delta's statistics, as JSON."""
    partition: Partition = ()


def part_path(fingerprint: str, partition: Partition = ()) -> str:
    """Where the part of that fingerprint lies, relative to its table's root."""
    folder = partition_folder(partition)
    return f"{folder}/part-{fingerprint}.parquet" if folder else f"part-{fingerprint}.parquet"


def publish_by_content(folder: Folder, temporary: str, final: str) -> PartFile:
    """Give a finished file a name that stands for its content.

    A file that has the name already, from a run that ended early, stays if it holds the same: it may be in a commit. One
    with other content is a damaged copy, and gives way.
    """
    if not folder.publish(temporary, final):
        folder.touch(final)  # else a vacuum could take it for abandoned, before the commit
        if _same_content(folder, temporary, final):
            folder.delete(temporary)
        else:
            folder.replace(temporary, final)
    return describe_part(folder, final)


def _same_content(folder: Folder, one: str, other: str) -> bool:
    try:
        return folder.sha256(one) == folder.sha256(other)
    except FileNotFoundError:  # a vacuum was quicker
        return False


def describe_part(folder: Folder, path: str) -> PartFile:
    """What a commit needs to know of any Parquet file in the table's folder, whoever wrote it.

    Raises:
        TableError: the file is missing, or is no Parquet file.
    """
    entry = folder.info(path)
    try:
        if entry is None:
            raise FileNotFoundError(path)
        with folder.open_input(path) as source, pq.ParquetFile(source) as file:
            footer, schema = file.metadata, file.schema_arrow
    except (OSError, pa.ArrowInvalid) as error:
        raise TableError(f"{folder.full(path)} is no readable Parquet file: {error}") from error
    return _part_file(entry, footer, schema, _receipt_of(footer))


def verify_part(folder: Folder, entry: FolderEntry) -> tuple[PartFile, Receipt] | None:
    """The part and its receipt, if the file is whole and is the part that its name says; else `None`.

    A file that was cut, is empty, belongs to somebody else or was renamed gives `None`: it is never counted.
    """
    named = PART_NAME.fullmatch(entry.path)
    if named is None or entry.size_bytes < 12:
        return None
    try:
        with folder.open_input(entry.path) as source, pq.ParquetFile(source) as file:
            footer, schema = file.metadata, file.schema_arrow
    except (OSError, pa.ArrowInvalid, pa.ArrowException):
        return None
    receipt = _receipt_of(footer)
    if receipt is None or receipt.fingerprint != named[1] or receipt.rows != footer.num_rows:
        return None
    if _data_end(footer) > entry.size_bytes - footer.serialized_size - 8:
        return None
    return _part_file(entry, footer, schema, receipt), receipt


def verify_parts(folder: Folder, entries: Iterable[FolderEntry]) -> dict[str, tuple[PartFile, Receipt]]:
    """Path -> part and receipt, of those that `verify_part` finds whole. Footers are read in parallel."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        verified = pool.map(lambda entry: verify_part(folder, entry), entries)
        return {found[0].path: found for found in verified if found is not None}


def _part_file(
    entry: FolderEntry,
    footer: pq.FileMetaData,
    schema: pa.Schema,
    receipt: Receipt | None,
) -> PartFile:
    partition = path_partition(entry.path)
    nan_columns = None if receipt is None else receipt.nan_columns
    return PartFile(
        path=entry.path,
        size_bytes=entry.size_bytes,
        modified_ms=entry.modified_ms,
        rows=footer.num_rows,
        stats=delta_stats(footer, schema, nan_columns, may_gain_columns=bool(partition)),
        partition=partition,
    )


def _receipt_of(footer: pq.FileMetaData) -> Receipt | None:
    text = (footer.metadata or {}).get(RECEIPT_KEY)
    if text is None:
        return None
    try:
        return Receipt.from_json(text)
    except ValueError:
        return None


def _data_end(footer: pq.FileMetaData) -> int:
    end = 4
    for group in range(footer.num_row_groups):
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            end = max(end, start + column.total_compressed_size)
    return end
