"""Delta tables whose logs are written by hand, with what delta-rs does not write: rows that a vector deletes, and columns
that files call otherwise than the table does.
"""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from delta_log import add, column, file_vector, inline_vector, write_log
from drawn_tables import NAIVE_US, Column, Form, table_of, write_file

Rows = list[dict[str, Any]]
_TYPES = {
    pa.bool_(): "boolean",
    pa.int8(): "byte",
    pa.int16(): "short",
    pa.int32(): "integer",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamp",
    NAIVE_US: "timestamp_ntz",
}


class LoggedSource:
    """A Delta table with deletion vectors, partitioned by `p` or not."""

    def __init__(self, root: Path, held: list[Column], *, partitioned: bool, mapping: str) -> None:
        """Write nothing yet.

        Args:
            root: the table's folder.
            held: its columns.
            partitioned: by `p`, which its files then lack.
            mapping: how files name columns: as the table does ("none"), by names of their own, or by numbers ("id").
        """
        self.root, self.held = root, held
        self._partitioned, self._mapping = partitioned, mapping
        self._numbers = itertools.count(1)
        fields = {column.name: self._field(column.name, column.arrow) for column in held}
        self._columns = [field for field, _ in fields.values()]
        self._stored = {name: stored for name, (_, stored) in fields.items()}
        self._files: dict[str, Rows] = {}
        self._deleted: dict[str, set[int]] = {}
        self._adds: dict[str, dict[str, Any]] = {}
        self._versions = itertools.count()

    @property
    def rows(self) -> Rows:
        return [
            row
            for path, rows in self._files.items()
            for place, row in enumerate(rows)
            if place not in self._deleted[path]
        ]

    def put(self, name: str, rows: Rows, form: Form, spark: Any = None) -> None:
        """Append rows, as one file, or as one for each partition."""
        self._commit(self._write(name, rows, form, spark))

    def delete_rows(self, ids: set[int]) -> None:
        actions = []
        for path, rows in self._files.items():
            places = self._deleted[path] | {place for place, row in enumerate(rows) if row["id"] in ids}
            if places != self._deleted[path]:
                actions.append(self._removal(path))
                self._deleted[path] = places
                vector = inline_vector(places) if len(places) % 2 else file_vector(self.root, places)
                self._adds[path] = self._adds[path] | {"deletionVector": vector}
                actions.append({"add": self._adds[path]})
        self._commit(actions)

    def compact(self) -> None:
        """Put the rows that are left together."""
        left = self.rows
        removals = [self._removal(path) for path in self._files]
        self._files.clear()
        self._commit(removals + self._write("compacted.parquet", left, Form(group_rows=2)))

    def _write(self, name: str, rows: Rows, form: Form, spark: Any = None) -> list[dict[str, Any]]:
        """Write files, and give the actions that add them."""
        if self._mapping == "id":  # other writers number no columns
            form = replace(form, writer="pyarrow")
        actions = []
        values = {row["p"] for row in rows} if self._partitioned else {None}
        for value in sorted(values, key=str):
            mine = [row for row in rows if not self._partitioned or row["p"] == value]
            path = str(Path(name).with_name(f"{next(self._numbers)} {Path(name).name}"))
            write_file(self.root / path, self._table(mine, form), form, spark)
            partition = {self._stored["p"].name: value} if self._partitioned else {}
            size = (self.root / path).stat().st_size
            self._files[path], self._deleted[path] = mine, set()
            self._adds[path] = add(quote(path), len(mine), size=size, partitionValues=partition)
            actions.append({"add": self._adds[path]})
        return actions

    def _table(self, rows: Rows, form: Form) -> pa.Table:
        """Rows as files hold them."""
        held = [
            column
            for column in self.held
            if not (self._partitioned and column.name == "p")
            and (
                not form.lacks_columns
                or column.name in form.always
                or any(row[column.name] is not None for row in rows)
            )
        ]
        fields = [self._stored[column.name] for column in held]
        arrays = [
            array.combine_chunks().view(field.type)
            for array, field in zip(table_of(rows, held).columns, fields, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _removal(self, path: str) -> dict[str, Any]:
        named = {name: self._adds[path][name] for name in ("path", "deletionVector") if name in self._adds[path]}
        return {"remove": {**named, "deletionTimestamp": 0, "dataChange": True}}

    def _commit(self, actions: list[dict[str, Any]]) -> None:
        version = next(self._versions)
        if version:
            log = self.root / "_delta_log" / f"{version:020}.json"
            log.write_text("\n".join(map(json.dumps, actions or [{"commitInfo": {}}])))
            return
        features = ["deletionVectors"]
        features += ["columnMapping"] if self._mapping != "none" else []
        features += ["timestampNtz"] if any(column.arrow == NAIVE_US for column in self.held) else []
        write_log(
            self.root,
            self._columns,
            [action["add"] for action in actions],
            features=features,
            properties={"delta.columnMapping.mode": self._mapping, "delta.enableDeletionVectors": "true"},
            partition_by=["p"] if self._partitioned else [],
        )

    def _field(self, name: str, kind: pa.DataType) -> tuple[dict[str, Any], pa.Field]:
        """A column, or a struct's field, as the log declares it and as files hold it."""
        declared, stored = self._type(kind)
        if self._mapping == "none":
            return column(name, declared), pa.field(name, stored)
        number = next(self._numbers)
        named = {"delta.columnMapping.physicalName": f"col-{number}", "delta.columnMapping.id": number}
        field = pa.field(f"col-{number}", stored, metadata={"PARQUET:field_id": str(number)})
        return column(name, declared, **named), field

    def _type(self, kind: pa.DataType) -> tuple[Any, pa.DataType]:
        if pa.types.is_struct(kind):
            fields = [self._field(field.name, field.type) for field in kind]
            return (
                {"type": "struct", "fields": [declared for declared, _ in fields]},
                pa.struct([stored for _, stored in fields]),
            )
        if pa.types.is_map(kind):
            key, value = self._type(kind.key_type)[0], self._type(kind.item_type)[0]
            return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}, kind
        if pa.types.is_list(kind):
            declared, stored = self._type(kind.value_type)
            element = pa.field("element", stored)
            return {"type": "array", "elementType": declared, "containsNull": True}, pa.list_(element)
        decimal = f"decimal({kind.precision},{kind.scale})" if pa.types.is_decimal(kind) else None
        return decimal or _TYPES[kind], kind
