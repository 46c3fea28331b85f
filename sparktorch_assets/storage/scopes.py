"""Which addresses have which storage options, in this process and in the workers of its Spark jobs.

A table's address passes through many hands until somebody opens a file, so the options are kept here instead, by the
beginning of the addresses that they are for. A job carries them to its workers as a part of its function.
"""

import os
import pickle
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from sparktorch_assets.errors import TaskError
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.storage.storage_options import StorageOptions, usual_scheme


@dataclass(frozen=True, slots=True, repr=False)
class StorageScopes:
    """Beginnings of addresses, each with its options. Picklable: jobs carry them to workers."""

    scopes: tuple[tuple[str, StorageOptions], ...] = ()
    """The longest beginning first."""

    def __repr__(self) -> str:
        """The addresses and the names of the options."""
        return f"StorageScopes({', '.join(f'{without_secrets(scope)}: {options!r}' for scope, options in self.scopes)})"

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle stores. It hides the values from whoever looks at a trace of what is sent, such as py4j's log at DEBUG,
        but encrypts nothing: the pad lies next to them."""
        plain = pickle.dumps(self.scopes)
        pad = os.urandom(len(plain))
        return _unpadded, (pad, _xor(plain, pad))

    def options_for(self, uri: str) -> StorageOptions | None:
        """The options of the longest beginning of `uri` that has any."""
        if not self.scopes or "://" not in uri:
            return None
        place = f"{_place(uri)}/"
        return next((options for scope, options in self.scopes if place.startswith(f"{scope}/")), None)

    def use(self) -> None:
        """Make this process open files with these options, and with no others."""
        global _now  # noqa: PLW0603  (one for the process, as the environment is)
        _now = self


def _unpadded(pad: bytes, hidden: bytes) -> StorageScopes:
    return StorageScopes(pickle.loads(_xor(hidden, pad)))  # noqa: S301  (our own bytes)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


_now = StorageScopes()
_changing = threading.Lock()


def set_storage_options(uri: str, options: Mapping[str, str] | None) -> None:
    """Open everything whose address begins with `uri` with these options, in this process and in the workers of the jobs
    that it starts from now on.

    They hold for tables, models, and the files that columns name, in every function of this library. If several
    beginnings of an address have options, those of the longest one are used, and no others. Options replace what the
    environment says about the same; whatever they leave out still comes from the environment of each host.

    Args:
        uri: a store, a bucket or a folder in it, such as `s3://bucket/lake`. It ends at a `/`: `s3://bucket/lake2` is not
            in it.
        options: name -> value, as for `deltalake` and `polars`: `{"aws_region": "eu-central-1"}`. Empty or `None`
            forgets the options of `uri`.

    Raises:
        TaskError: there are no options for such an address, or none of a given name, or two contradict each other; or
            the address has more than a path, which would be left out.

    Example:
        >>> set_storage_options("s3://bucket/lake", {"region": "eu-central-1"})
        >>> set_storage_options("s3://bucket/lake", None)
    """
    if sign := re.search("[#?]", uri):
        raise TaskError(
            f"storage options of {without_secrets(uri.partition(sign[0])[0])!r}...: {sign[0]} ends the path of an address. "
            f"Leave out what follows; if it is part of a name, write {quote(sign[0])}"
        )
    scope = _place(uri)
    checked = StorageOptions.of(uri, options) if options else None
    with _changing:
        kept = [pair for pair in _now.scopes if pair[0] != scope]
        added = [] if checked is None else [(scope, checked)]
        StorageScopes(tuple(sorted([*kept, *added], key=lambda pair: -len(pair[0])))).use()


def storage_scopes() -> StorageScopes:
    """The options that hold in this process now."""
    return _now


def _place(uri: str) -> str:
    """An address in the form in which addresses are compared.

    >>> _place("s3a://bucket/a%20b/"), _place("s3://bucket/x?region=eu")
    ('s3://bucket/a b', 's3://bucket/x')
    """
    parts = urlsplit(uri)
    return f"{usual_scheme(parts.scheme)}://{parts.netloc}{unquote(parts.path)}".rstrip("/")
