"""Opens objects of a store whose sizes are known, so that only the reads cost requests.

`open_input_file` of `pyarrow.fs` (26.0) takes a path and nothing else, and asks S3, Google Cloud Storage or Azure for
the object's size first. The reader of delta-rs, which reads every table's log as well, can be told the size.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlparse

from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler

from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.storage.scopes import storage_scopes
from sparktorch_assets.storage.storage_options import StorageOptions

_SCHEMES = ("s3", "gs", "abfs", "abfss")
"""The stores that both delta-rs and `pyarrow.fs` know by these names."""
_Store = tuple[str, StorageOptions | None]
"""A store's root, and the options of the files in it; other files there may have others."""


class ObjectReader:
    """Opens some files for reading by their URIs.

    Args:
        files: the files, with their sizes. Those that are not in one of the stores are left to the caller, as are those
            with options in their URIs, such as an endpoint, which delta-rs takes from the environment alone.
    """

    def __init__(self, files: Iterable[DataFile]) -> None:
        self._scopes = storage_scopes()
        sizes: dict[_Store, dict[str, int]] = {}
        for file in files:
            place = self._place(file.uri)
            if place is not None:
                sizes.setdefault(place[0], {})[place[1]] = file.size_bytes
        self._stores: dict[_Store, DeltaStorageHandler] = {}
        for store, known in sizes.items():
            root, options = store
            try:
                self._stores[store] = DeltaStorageHandler(root, None if options is None else options.for_delta(), known)
            except (DeltaError, OSError, ValueError):  # whoever opens the file otherwise reports what is wrong
                continue

    def open(self, uri: str) -> Any | None:
        """The file, opened without a request; `None` if it is left to the caller.

        Raises:
            OSError: the store cannot be reached, or has no such object.
        """
        place = self._place(uri)
        if place is None or place[0] not in self._stores:
            return None
        return self._stores[place[0]].open_input_file(place[1])

    def _place(self, uri: str) -> "tuple[_Store, str] | None":
        """The store, and the path in it."""
        parsed = urlparse(uri)
        if parsed.scheme not in _SCHEMES or parsed.query:
            return None
        store = f"{parsed.scheme}://{parsed.netloc}", self._scopes.options_for(uri)
        return store, unquote(parsed.path).lstrip("/")
