"""One input table: source files, the declared types of their columns, and how to read them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.tasks.column_names import clash, describe
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs import COLUMN_TYPES
from sparktorch_assets.tasks.partitions import Partitions, refuse_several
from sparktorch_assets.tasks.validation import ASSET_NAME, freeze, names, share

SOURCE_TYPES = (*COLUMN_TYPES, "list<long>", "list<string>", "short", "byte", "date", "timestamp")

Option = str | int | float | bool
"""A value of a reader option. Spark gets it as text; `None` is excluded, because Spark would get the text `None`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceColumn:
    """A column of an input table with a description."""

    type: str
    """The column's type, one of those of `InputTable.columns`."""
    description: str = ""
    """What the column holds: shown at the asset, and at the predictions that keep the column. Nothing is read again when
    it changes."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class InputTable:
    """Files that Spark reads into a Delta table with declared types. Frozen, validated, cheap."""

    name: str
    """Lower-case letters, digits and `_`: it becomes the asset's and the table's name."""
    source: str | PurePath | Sequence[str | PurePath]
    """A path, folder or glob pattern, or a list of them; relative ones start at the project's root. Or a URI of an object,
    a folder or a pattern in a store, such as `s3://bucket/flights/*.csv.gz`."""
    format: Literal["csv", "json", "parquet"]
    """The format of the files. In JSON, each line is an object, and a row of the table."""
    columns: Mapping[str, str | SourceColumn] | tuple[tuple[str, str | SourceColumn], ...]
    """Column -> type, in the table's order: `string`, `boolean`, `byte`, `short`, `int`, `long`, `float`, `double`,
    `date`, `timestamp` or `binary`; in JSON and Parquet also `list<float>`, `list<long>` and `list<string>`. With a description:
    `{type: long, description: ...}`."""
    options: Mapping[str, Option] | Sequence[tuple[str, Option]] = field(default=(), repr=False)
    """Spark's reader options, for instance `{header: true, nullValue: NA}`. They are not shown, as they may contain a
    secret. In CSV, a quote within a quoted text is doubled (RFC 4180), unless `escape` says otherwise."""
    max_rejected_share: float = 0.01
    """If more than this share of the rows is malformed, the table is not refreshed. Malformed rows go to a separate
    table."""
    max_vanished_share: float = 0.5
    """If more than this share of the rows would leave the table, it is not refreshed: source files are gone, shorter,
    or hold nothing but a header. Set it to 1 for a refresh that is meant to remove the rows."""
    description: str = ""
    """Where the files come from: shown at the asset."""
    partitions: Partitions | None = None
    """How Dagster divides the asset. The table is read and stored as a whole: a partition of it is the rows of its
    window, or with its value. `None`: the asset is not divided."""

    def __post_init__(self) -> None:
        refuse_several(self.partitions, "InputTable.partitions")
        check_fields(self)
        if not re.fullmatch(ASSET_NAME, self.name):
            raise TaskError(f"InputTable.name={self.name!r}; use lower-case letters, digits and _, a letter first")
        where = f"InputTable {self.name!r}"
        if isinstance(self.source, str):
            object.__setattr__(self, "source", (self.source,))
        names(self.patterns, f"{where}: source")
        if isinstance(self.columns, Mapping):
            object.__setattr__(self, "columns", tuple(self.columns.items()))  # the table's order: not sorted
        names([name for name, _ in self.typed_columns], f"{where}: columns")
        pair = clash(name for name, _ in self.typed_columns)
        if pair:
            raise TaskError(f"{where}: columns names {describe(pair)}; a table cannot tell them apart. Rename one")
        for column, kind in self.typed_columns:
            if kind not in SOURCE_TYPES:
                raise TaskError(f"{where}: columns gives {column!r} the type {kind!r}; {nearest(kind, SOURCE_TYPES)}")
            if self.format == "csv" and kind.startswith("list<"):
                raise TaskError(
                    f"{where}: columns gives {column!r} the type {kind!r}, which CSV files cannot hold; write the files as JSON "
                    f"or Parquet, or read the column as a string and split it in a hook"
                )
        if self.partitions is not None and self.partitions.column not in dict(self.typed_columns):
            raise TaskError(
                f"{where}: partitions are by column {self.partitions.column!r}, which is not among its columns; "
                f"{nearest(self.partitions.column, dict(self.typed_columns))}"
            )
        object.__setattr__(self, "options", freeze(self.options, f"{where}: options"))
        for limit in ("max_rejected_share", "max_vanished_share"):
            share(getattr(self, limit), f"{where}: {limit}")

    @property
    def patterns(self) -> tuple[str, ...]:
        """`source` in its frozen form: one path, folder or pattern, or several."""
        assert isinstance(self.source, tuple)
        return self.source

    @property
    def typed_columns(self) -> tuple[tuple[str, str], ...]:
        """Pairs of name and type, without descriptions: what the rows depend on."""
        assert isinstance(self.columns, tuple)
        return tuple((name, kind if isinstance(kind, str) else kind.type) for name, kind in self.columns)

    @property
    def described_columns(self) -> dict[str, str]:
        """The descriptions of columns that have one."""
        assert isinstance(self.columns, tuple)
        return {name: kind.description for name, kind in self.columns if isinstance(kind, SourceColumn)}

    @property
    def typed_options(self) -> tuple[tuple[str, Option], ...]:
        """`options` in their frozen form: pairs of name and value."""
        assert isinstance(self.options, tuple)
        return self.options
