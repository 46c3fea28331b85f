"""Tallies parts that Spark wrote, from their rows, and names them by their content."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.lake.files.folder import Folder, read_threads, sha256_of
from sparktorch_assets.lake.parts.file import PartFile, part_of, publish_by_content
from sparktorch_assets.predict.count import count_values
from sparktorch_assets.predict.failures import reason_in
from sparktorch_assets.predict.outputs.truth import count_truth
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenPart:
    """A file that Spark wrote into a staging folder."""

    staged: PartFile
    """The file in the staging folder."""
    path: str
    """The part's name in the table, derived from its content."""
    tally: Tally


def read_written(folder: Folder, files: Iterable[str], task: MlTask) -> list[WrittenPart]:
    """Those of the files, given by their paths below the folder, that contain rows, tallied from their prediction
    columns."""
    with ThreadPoolExecutor(read_threads(is_local=folder.is_local)) as pool:
        read = list(pool.map(lambda path: _read(folder, path, task), files))
    parts, copies = [], Counter[str]()
    for part, tally, digest in read:
        if tally.rows:
            # Two files of one run may contain the same rows, and both count.
            name = f"part-{digest[:32]}-{copies[digest]:05d}.parquet"
            copies[digest] += 1
            parts.append(WrittenPart(staged=part, path=name, tally=tally))
    return parts


def publish_parts(folder: Folder, parts: Iterable[WrittenPart]) -> list[PartFile]:
    """Give the files their names in the table."""
    return [publish_by_content(folder, part.staged, part.path) for part in parts]


def _read(folder: Folder, path: str, task: MlTask) -> tuple[PartFile, Tally, str]:
    """The file's description, the tally of its rows, and its SHA-256."""
    tally = Tally()
    columns = [*task.main_columns, task.error_column, *((task.truth,) if task.truth is not None else ())]
    entry = folder.info(path)
    assert entry is not None, path  # Spark has just written it
    with folder.open_input(path) as source:
        digest = sha256_of(source)
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            for batch in file.iter_batches(columns=columns, use_threads=False):
                _count(batch, task, tally)
            return part_of(entry, file), tally, digest


def _count(batch: pa.RecordBatch, task: MlTask, tally: Tally) -> None:
    errors = batch.column(task.error_column)
    failed = len(errors) - errors.null_count
    tally.rows += batch.num_rows
    tally.failed += failed
    tally.predicted += batch.num_rows - failed
    for text in errors.drop_null().to_pylist():
        reason = reason_in(text)
        tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
    count_values(batch, task, tally)
    if task.truth is not None:
        count_truth(batch, batch.column(task.truth), task, tally)
