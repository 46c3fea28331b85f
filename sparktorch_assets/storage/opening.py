"""Opens stores by their addresses, with the storage options that there are for these."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sparktorch_assets.storage.patience import patient
from sparktorch_assets.storage.scopes import storage_scopes
from sparktorch_assets.storage.storage_options import StorageOptions

if TYPE_CHECKING:
    from pyarrow import fs


def open_file_system(uri: str) -> "tuple[fs.FileSystem, str]":
    """The file system that an address is in, and its path there, with the options that there are for it now.

    Raises:
        ValueError: `pyarrow.fs` knows no such address, it does not fit its options, or a part of it would be left out.
        OSError: the store cannot be reached.
    """
    return open_with(uri, storage_scopes().options_for(uri))


def open_with(uri: str, options: StorageOptions | None) -> "tuple[fs.FileSystem, str]":
    """The same, with these options."""
    from pyarrow import fs

    if "#" in uri:  # pyarrow and delta-rs would leave out what follows, and so open another folder
        raise ValueError("in a URI, # ends the path; if it is part of the name, write %23")
    found, path = fs.FileSystem.from_uri(uri) if options is None else options.file_system(urlsplit(uri))
    return patient(found), path


def delta_options(uri: str) -> dict[str, str] | None:
    """The options of an address for delta-rs (its `storage_options`); `None` if there are none."""
    options = storage_scopes().options_for(uri)
    return None if options is None else options.for_delta()
