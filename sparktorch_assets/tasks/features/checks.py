"""Checks that several kinds of features have in common."""

from collections.abc import Mapping
from typing import Any, Protocol

from sparktorch_assets.errors import TaskError
from sparktorch_assets.masking import has_password, without_secrets

ADDED: Mapping[str, Any] = {"added": True}
"""The metadata of fields that were added later. While they have their default, digests leave them out, so that
declarations without them keep the part names that they had before."""


class Named(Protocol):
    """A feature as far as the names of its arguments go."""

    @property
    def arguments_of_forward(self) -> tuple[str | None, ...]:
        """The names, in the order of the tensors."""


class Filled(Protocol):
    """A feature that replaces nulls by numbers."""

    @property
    def dtype(self) -> str:
        """The dtype of its tensor."""

    @property
    def fill(self) -> float | None:
        """What replaces a null."""


class Stored(Protocol):
    """A feature that reads files."""

    @property
    def read(self) -> str:
        """What its column holds."""

    @property
    def folder(self) -> str | None:
        """The folder of relative paths."""


def check_arguments(feature: Named) -> None:
    """Raise TaskError if the names of `forward`'s arguments are none, or are given to the first ones alone."""
    kind, given = type(feature).__name__, feature.arguments_of_forward
    fields = ("argument", "mask_argument", "type_ids_argument")
    for field_name, name in zip(fields, given, strict=False):
        if name is not None and not name.isidentifier():
            raise TaskError(
                f"{kind}.{field_name}={name!r} cannot be the name of an argument; use letters, digits and _"
            )
    for before, after, field_name in zip(given, given[1:], fields[1:], strict=False):
        if before is not None and after is None:
            raise TaskError(
                f"{kind}: the argument {before!r} is given by name, but the one after it is not, and would take the "
                f"place of another one; set {field_name}, too"
            )


def check_fill(feature: Filled) -> None:
    """Raise TaskError if what replaces a null is no value of the dtype."""
    kind, fill = type(feature).__name__, feature.fill
    if fill is None:
        return
    if feature.dtype == "int64" and not (-(2**63) <= fill < 2**63 and fill == int(fill)):
        raise TaskError(f"{kind}.fill={fill!r} is not an int64 ({kind}.dtype); give a whole number")
    if feature.dtype == "bool" and fill not in (0, 1):
        raise TaskError(f"{kind}.fill={fill!r} is not a bool ({kind}.dtype); give 0 or 1")


def check_folder(feature: Stored) -> None:
    """Raise TaskError if the folder of relative paths means nothing, depends on a working directory, or shows a
    password."""
    kind, folder = type(feature).__name__, feature.folder
    if folder is None:
        return
    if feature.read != "uri":
        raise TaskError(
            f"{kind}.folder is set, but the column holds the files themselves; set read: uri, or leave folder out"
        )
    if has_password(folder):
        raise TaskError(
            f"{kind}.folder={without_secrets(folder)!r} contains a password, and declarations are shown in logs and on "
            f"asset pages. Leave it out, and set the store's own environment variables or profile instead"
        )
    if not folder.startswith("/") and "://" not in folder:
        raise TaskError(
            f"{kind}.folder={folder!r} depends on the directory in which a worker runs; give an absolute path, or a URI "
            f"such as s3://bucket/photos"
        )
