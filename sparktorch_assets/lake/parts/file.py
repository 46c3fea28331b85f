"""Describes finished parts for a commit, and verifies that a file with a part's name is an intact part."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder, FolderEntry, read_threads
from sparktorch_assets.lake.files.partition_values import Partition, partition_folder, path_partition
from sparktorch_assets.lake.parquet.stats import delta_stats
from sparktorch_assets.lake.parts.receipt import RECEIPT_KEY, Receipt

PART_NAME = re.compile(r"(?:.*/)?part-([0-9a-f]{32})\.parquet")
NUMBERED_PART_NAME = re.compile(r"(?:.*/)?part-([0-9a-f]{32})-(\d{5})(?:-[0-9a-f]{16})?\.parquet")
"""Names of parts that Spark wrote, which carry no receipt: those of an input table (named after their source file,
number and content) and those of a DataFrame (named after their content and a number)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFile:
    """A Parquet file in a table's folder, ready to be committed."""

    path: str
    """Path relative to the table's root."""
    size_bytes: int
    modified_ms: int
    rows: int
    stats: str
    """The statistics for Delta's log, as JSON."""
    partition: Partition = ()


def part_path(fingerprint: str, partition: Partition = ()) -> str:
    """The path of the part with that fingerprint, relative to its table's root."""
    folder = partition_folder(partition)
    return f"{folder}/part-{fingerprint}.parquet" if folder else f"part-{fingerprint}.parquet"


def publish_by_content(folder: Folder, part: PartFile, final: str) -> PartFile:
    """Give a finished file its final name, which is derived from its content.

    A file that has the name already, from a run that ended early, stays if its content is the same, since a commit may
    list it. If its content differs, it is a damaged copy and is replaced.

    Args:
        folder: the table's folder.
        part: the file under its temporary name, as `describe_part` gives it.
        final: the path of the part in the table.

    Returns:
        The part under its final name.
    """
    if not folder.publish(part.path, final):
        folder.keep_young(final)  # otherwise a vacuum could take it for abandoned before the commit
        if _same_content(folder, part.path, final):
            folder.delete(part.path)
        else:
            folder.replace(part.path, final)
    return replace(part, path=final)


def publish_part(folder: Folder, temporary: str, path: str) -> tuple[PartFile, Receipt] | None:
    """Give a finished part its final name, which does not depend on its bytes.

    Args:
        folder: the table's folder.
        temporary: the path of the file under its temporary name.
        path: the path of the part in the table.

    Returns:
        The part that another writer has finished meanwhile: it stays, since a commit may already record its size, and
        the temporary file is left to the caller. `None` if the file has the name now; an incomplete one is replaced.
    """
    if folder.publish(temporary, path):
        return None
    taken = folder.info(path)
    whole = None if taken is None else verify_part(folder, taken)
    if whole is None:
        folder.replace(temporary, path)
    return whole


def publish_held(folder: Folder, content: bytes, path: str) -> tuple[PartFile, Receipt] | None:
    """Write a finished part into a store, under its final name at once; otherwise like `publish_part`."""
    try:
        folder.open_input(path).close()  # asks for the object alone; `info` would list what may be below it as well
    except FileNotFoundError:
        taken = None
    else:
        taken = folder.info(path)
    whole = None if taken is None else verify_part(folder, taken)
    if whole is None:
        with folder.open_output(path) as sink:
            sink.write(content)
    return whole


def _same_content(folder: Folder, one: str, other: str) -> bool:
    try:
        return folder.sha256(one) == folder.sha256(other)
    except FileNotFoundError:  # a vacuum deleted it meanwhile
        return False


def describe_part(folder: Folder, path: str, partition: Partition = ()) -> PartFile:
    """Describe a Parquet file in the table's folder, whoever wrote it, for a commit to the table, or to a partition of
    it.

    Raises:
        TableError: the file is missing, or is not a Parquet file.
    """
    entry = folder.info(path)
    try:
        if entry is None:
            raise FileNotFoundError(path)
        with folder.open_input(path) as source, pq.ParquetFile(source) as file:
            return part_of(entry, file, partition)
    except (OSError, pa.ArrowInvalid) as error:
        raise TableError(f"{folder.full(path)} is not a readable Parquet file: {error}") from error


def part_of(entry: FolderEntry, file: pq.ParquetFile, partition: Partition = ()) -> PartFile:
    """Describe an open Parquet file, as `describe_part` does."""
    return _part_file(entry, file.metadata, file.schema_arrow, _receipt_of(file.metadata), partition)


def verify_part(folder: Folder, entry: FolderEntry) -> tuple[PartFile, Receipt] | None:
    """The part and its receipt, if the file is complete and is the part that its name claims; else `None`.

    A file that is truncated, empty, foreign or renamed gives `None`, and is never counted.
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
    return _part_file(entry, footer, schema, receipt, path_partition(entry.path)), receipt


def verify_parts(folder: Folder, entries: Iterable[FolderEntry]) -> dict[str, tuple[PartFile, Receipt]]:
    """Path -> part and receipt, for the files that `verify_part` accepts. Footers are read in parallel."""
    with ThreadPoolExecutor(read_threads(is_local=folder.is_local)) as pool:
        verified = pool.map(lambda entry: verify_part(folder, entry), entries)
        return {found[0].path: found for found in verified if found is not None}


def _part_file(
    entry: FolderEntry,
    footer: pq.FileMetaData,
    schema: pa.Schema,
    receipt: Receipt | None,
    partition: Partition,
) -> PartFile:
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
