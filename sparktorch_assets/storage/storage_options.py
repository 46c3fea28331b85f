"""StorageOptions: the checked options of one store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.storage.azure import Azure
from sparktorch_assets.storage.gcs import GoogleCloudStorage
from sparktorch_assets.storage.s3 import S3
from sparktorch_assets.storage.store import OptionKey, Store

if TYPE_CHECKING:
    from pyarrow import fs

_STORES: Mapping[str, Store] = {
    scheme: store for store in (S3(), GoogleCloudStorage(), Azure()) for scheme in store.schemes
}
_FLAGS = ("true", "false")
ALL_KEYS: Mapping[str, OptionKey] = {
    name: key for store in _STORES.values() for key in store.keys for name in (key.name, *key.also)
}
"""Every name of every store's options. One that several stores have is a secret in all of them, or in none."""


@dataclass(frozen=True, slots=True, repr=False)
class StorageOptions:
    """Options of one store. They are pickled with their values, and shown without."""

    scheme: str
    """The usual scheme of the store's URIs."""
    values: tuple[tuple[str, str], ...]
    """`OptionKey.name` -> value, sorted by name."""

    @classmethod
    def of(cls, uri: str, given: Mapping[str, str]) -> "StorageOptions":
        """The options for a store.

        Args:
            uri: an address in it.
            given: the options by any of the names that delta-rs knows them by, in upper or lower case.

        Raises:
            TaskError: `uri` is in no store that has options, there is no such option, a value is no string or is empty,
                or two options contradict each other. No message contains a value.
        """
        store = store_of(uri)
        found: dict[str, str] = {}
        for name, value in given.items():
            key = find_key(uri, name)
            if not isinstance(value, str) or not value:
                what = "is empty" if isinstance(value, str) else f"is of type {type(value).__name__}"
                raise TaskError(f"{_where(uri)}: the value of {name!r} {what}; give a string, or leave the option out")
            if key.is_flag and value.lower() not in _FLAGS:
                raise TaskError(f"{_where(uri)}: {name!r} must be 'true' or 'false'")
            meant = value.lower() if key.is_flag else value
            if found.setdefault(key.name, meant) != meant:
                raise TaskError(
                    f"{_where(uri)}: {name!r} is another name of {key.name!r}, and both are given with different values; "
                    f"leave out one of them"
                )
        if problem := store.problem(found):
            raise TaskError(f"{_where(uri)}: {problem}")
        return cls(store.schemes[0], tuple(sorted(found.items())))

    def __repr__(self) -> str:
        """The names of the options alone."""
        return f"StorageOptions({self.scheme!r}, {', '.join(name for name, _ in self.values)})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that give access to the store."""
        secret = {key.name for key in _STORES[self.scheme].keys if key.secret}
        return tuple(value for name, value in self.values if name in secret)

    def file_system(self, uri: SplitResult) -> "tuple[fs.FileSystem, str]":
        """The file system for an address in the store, and the address's path in it.

        Raises:
            ValueError: the options and the address together do not say where that is.
        """
        if uri.query:
            raise ValueError(
                "the address has options of its own after a ?, and there are storage options for it; use one of them"
            )
        store = _STORES[self.scheme]
        return store.file_system(dict(self.values), uri), store.path(uri)

    def for_delta(self) -> dict[str, str]:
        """The options for delta-rs."""
        return _STORES[self.scheme].for_delta(dict(self.values))


def store_of(uri: str) -> Store:
    """The store that an address is in.

    Raises:
        TaskError: it is in none that has options.
    """
    scheme = urlsplit(uri).scheme
    if scheme not in _STORES:
        raise TaskError(
            f"{_where(uri)}: only addresses that begin with {', '.join(f'{known}://' for known in _STORES)} have storage "
            f"options; leave them out for a local path or another store"
        )
    return _STORES[scheme]


def usual_scheme(scheme: str) -> str:
    """The scheme by which a store is known: `s3` for `s3a`."""
    return _STORES[scheme].schemes[0] if scheme in _STORES else scheme


def find_key(uri: str, name: str) -> OptionKey:
    """The option of this name, in upper or lower case, of the store that `uri` is in.

    Raises:
        TaskError: there is none.
    """
    store = store_of(uri)
    for key in store.keys:
        if name.lower() in (key.name, *key.also):
            return key
    raise TaskError(
        f"{_where(uri)}: {store.name} has no option {name!r} here; {nearest(name.lower(), _names(store.keys))}"
    )


def _names(keys: Iterable[OptionKey]) -> list[str]:
    return [key.name for key in keys]


def _where(uri: str) -> str:
    return f"storage options of {without_secrets(uri)!r}"
