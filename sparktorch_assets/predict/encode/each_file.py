"""Gives the encoded files of a column to a decoder, several at once: from the column itself, or from where it says that
they are."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import BoundedSemaphore
from typing import Any

import pyarrow as pa
import torch

from sparktorch_assets.errors import InputSchemaError, SparktorchError
from sparktorch_assets.predict.encode.stored_files import READERS, StoredFiles
from sparktorch_assets.predict.failures import RowFailure, is_about_the_row

Decode = Callable[[Sequence[int], bytes], None]
"""Decodes a file for all rows that hold it."""

MAX_THREADS = 8
"""Number of threads beyond which decoding gets slower rather than faster: they wait for one another, for Python's lock
(benchmarks/LOG.md)."""

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


def each_file(
    column: pa.Array, what: str, files: StoredFiles | None, failures: dict[int, RowFailure], decode: Decode
) -> None:
    """Decode the files of all rows that are not null. A row for which reading or decoding raises is added to `failures`.

    Files are decoded by as many threads as torch has, up to `MAX_THREADS`, and read by `READERS` threads, so that some are read while others
    are decoded. A file that several rows name is read and decoded once.

    Args:
        column: the files' bytes; with `files`, their paths or URIs.
        what: names the column in messages.
        files: reads files by their addresses; `None` if the column holds the files themselves.
        failures: the failures so far, by row.
        decode: called from several threads.

    Raises:
        InputSchemaError: the column has another type.
        SparktorchError: raised by `files` about all of them.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not any(test(column.type) for test in (*(_TEXTS if files else _BYTES), pa.types.is_null)):
        holds = "strings, the paths or URIs of files (read: uri)" if files else "binary, the bytes of files"
        raise InputSchemaError(f"{what} has type {column.type}; it must hold {holds}")
    threads = min(torch.get_num_threads(), MAX_THREADS)
    turns = nullcontext() if files is None else BoundedSemaphore(threads)

    def take(rows: Sequence[int], entry: Any) -> None:
        """Decode the file that is, or whose address is, `entry`."""
        try:
            with nullcontext(entry) if files is None else files.content(entry) as encoded, turns:
                decode(rows, encoded)
        except SparktorchError:
            raise
        except BaseException as error:  # decoders raise many kinds for broken files
            if not is_about_the_row(error):
                raise
            failures.update(dict.fromkeys(rows, RowFailure.of("encode", error)))

    if files is None and threads == 1:
        for row in range(len(column)):
            if column[row].is_valid:
                take([row], column[row].as_py())
        return
    entries = _by_address(column) if files else [([row], row) for row in range(len(column)) if column[row].is_valid]
    with ThreadPoolExecutor(READERS if files else threads) as pool:  # decoders release the GIL, and so does reading
        list(pool.map(lambda entry: take(entry[0], column[entry[1]].as_py()), entries))


def _by_address(column: pa.Array) -> list[tuple[list[int], int]]:
    """The rows of each distinct address, with the first of them."""
    rows: dict[str, list[int]] = {}
    for row, address in enumerate(column.to_pylist()):
        if address is not None:
            rows.setdefault(address, []).append(row)
    return [(same, same[0]) for same in rows.values()]
