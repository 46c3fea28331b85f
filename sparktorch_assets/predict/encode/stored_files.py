"""Reads the files that a column names by paths and URIs, through `pyarrow.fs`: local ones, `s3://`, `gs://`, `hdfs://`
and the like.

Every step is given up after a while, so that a store that does not answer costs a row and not the run.
"""

import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pyarrow import fs

from sparktorch_assets.errors import HostError
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.predict.failures import is_about_the_row
from sparktorch_assets.storage.opening import open_with
from sparktorch_assets.storage.scopes import storage_scopes
from sparktorch_assets.storage.storage_options import StorageOptions

T = TypeVar("T")

READERS = 16
"""Number of files that are read at once per feature: they mostly wait for the store."""
MAX_FILE_BYTES = 256 << 20
"""Size of the largest file that is read."""
MAX_HELD_BYTES = 256 << 20
"""Bytes of files that are held at once, from before they are read until they are decoded."""
TIMEOUT_S = 60.0
"""Seconds after which opening a file, or reading it, is given up."""
SLOW_S = 1.0
PATIENCE = 32
"""A store is given up, and with it the run, once this many files in a row failed there after more than `SLOW_S` seconds
each: files that are not there fail fast, and a store that is not there does not."""

_LOCAL = ""
"""The store of paths."""
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://")
_SAME = {"s3a": "s3", "s3n": "s3"}
"""Hadoop's names of schemes, and those of pyarrow."""
_NOT_FILES = {fs.FileType.NotFound: FileNotFoundError, fs.FileType.Directory: IsADirectoryError}
_KNOWN: dict[type[OSError], str] = {
    FileNotFoundError: "there is no file",
    IsADirectoryError: "this is a folder",
    PermissionError: "there is no permission to read",
}


class StoredFiles:
    """Reads files by their addresses. Safe to use from several threads.

    Args:
        folder: where relative paths begin: an absolute path or a URI; `None` refuses them.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._stores: dict[tuple[str, StorageOptions | None], tuple[fs.FileSystem, str]] = {}
        self._opens: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._slow: Counter[str] = Counter()
        """For each store, the number of files in a row that failed slowly."""
        self._held = _Budget(MAX_HELD_BYTES)

    @contextmanager
    def content(self, address: str) -> Iterator[bytes]:
        """The bytes of a file, which count as held while the block runs.

        Raises:
            HostError: the store does not answer, so that no further file is tried there.
            OSError, ValueError: the file cannot be read; the message has its address, without secrets.
        """
        full = self._full(address)
        _check_uri(full)
        source, size = self._attempt(full, lambda: self._open(full))
        if size > MAX_FILE_BYTES:
            raise ValueError(f"a file of {size:,} bytes is not read, only up to {MAX_FILE_BYTES:,}: {shown(full)}")
        with self._held.of(size):
            encoded = self._attempt(full, lambda: _read(source, size))
            self._slow[_store_of(full)] = 0
            yield encoded

    def _full(self, address: str) -> str:
        """The address with the feature's folder before it if it is a relative path."""
        if address.startswith("/") or _URI.match(address):
            return address
        if self._folder is None:
            raise ValueError(f"a relative path needs the feature's folder: {address}")
        if ".." in address.split("/"):
            raise ValueError(f"a path with .. may lead out of the feature's folder: {address}")
        if not _URI.match(self._folder):
            return f"{self._folder.rstrip('/')}/{address}"
        parts = urlsplit(self._folder)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(address)}").geturl()

    def _attempt(self, full: str, step: Callable[[], T]) -> T:
        """The result of a step towards a file's content, within the time limit; its errors are put into words."""
        store = _store_of(full)
        if self._slow[store] >= PATIENCE:
            raise HostError(
                f"{PATIENCE} files in a row could not be read from {shown(store)}, each after more than {SLOW_S:g} s, so "
                f"the store seems not to answer. Finished parts are kept: run again once it does"
            )
        started = time.perf_counter()
        try:
            return _within(TIMEOUT_S, step)
        except BaseException as error:
            if not is_about_the_row(error):
                raise
            if time.perf_counter() - started > SLOW_S:
                self._slow[store] += 1
            raise self._in_words(error, full) from None

    def _in_words(self, error: BaseException, full: str) -> Exception:
        safe = shown(full)
        if isinstance(error, TimeoutError):
            return TimeoutError(f"no answer within {TIMEOUT_S:g} s: {safe}")
        for kind, what in _KNOWN.items():
            if isinstance(error, kind):
                return kind(f"{what}: {safe}")
        # What an address hides may be quoted in the message.
        detail = f" ({' '.join(str(error).split())})" if safe == full else f" ({type(error).__name__})"
        return OSError(f"cannot be read: {safe}{detail}")

    def _open(self, full: str) -> tuple[Any, int]:
        """The open file and its size in bytes."""
        filesystem, prefix = self._store(full)
        path = full if _store_of(full) == _LOCAL else prefix + unquote(urlsplit(full).path)
        if isinstance(filesystem, fs.LocalFileSystem):  # opening a pipe would wait for somebody to write into it
            found = filesystem.get_file_info(path).type
            if found != fs.FileType.File:
                raise _NOT_FILES.get(found, OSError)("neither a file nor a folder")
        source = filesystem.open_input_file(path)
        return source, source.size()

    def _store(self, full: str) -> tuple[fs.FileSystem, str]:
        store, options = _store_of(full), storage_scopes().options_for(full)
        with self._opens[store]:
            if (store, options) not in self._stores:
                self._stores[store, options] = open_store(store, options)
            return self._stores[store, options]


def open_store(store: str, options: StorageOptions | None = None) -> tuple[fs.FileSystem, str]:
    """The file system of a store, and what comes before the path of a URI in it: for `s3://bucket`, `bucket`."""
    if store == _LOCAL:
        return fs.LocalFileSystem(), ""
    parts = urlsplit(store)
    scheme = _SAME.get(parts.scheme, parts.scheme)
    filesystem, path = open_with(parts._replace(scheme=scheme, path="/x").geturl(), options)
    return filesystem, path.removesuffix("/x")


def shown(address: str) -> str:
    """An address without what may be secret in it."""
    return without_secrets(address.partition("?")[0]) if _URI.match(address) else address


def _check_uri(full: str) -> None:
    """Raise ValueError if a URI has a part that its store would leave out, so that another file would be read."""
    if not _URI.match(full):
        return
    parts = urlsplit(full)
    for sign, code, left_out in (("#", "%23", "#" in full), ("?", "%3F", parts.scheme == "file" and "?" in full)):
        if left_out:
            raise ValueError(f"in a URI, {sign} ends the path; if it is part of the name, write {code}: {shown(full)}")


def _store_of(full: str) -> str:
    """The part of a URI that says where it is, `s3://bucket` for instance, with its parameters."""
    return urlsplit(full)._replace(path="", fragment="").geturl() if _URI.match(full) else _LOCAL


def _read(source: Any, size: int) -> bytes:
    with source:
        return bytes(source.read(size))


def _within(seconds: float, step: Callable[[], T]) -> T:
    """The result of `step`, which runs in a thread of its own. If that takes longer, the thread is left behind."""
    done = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(step())
        except BaseException as error:  # noqa: BLE001  (raised again in the waiting thread)
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="read-file", daemon=True).start()
    if not done.wait(seconds):
        raise TimeoutError
    if errors:
        raise errors[0]
    return results[0]


class _Budget:
    """A number of bytes that threads share; a larger piece waits until nothing else is held."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()
