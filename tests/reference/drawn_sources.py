"""Input tables that change: a folder of files, with or without Hive's partitions, or a Delta table."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from drawn_tables import Column, Form, table_of, write_file

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
Rows = list[dict[str, Any]]


class FolderSource:
    """Parquet files in a folder; with `hive`, the column `p` stands in their paths instead of in them."""

    def __init__(self, root: Path, held: list[Column], *, hive: bool) -> None:
        self.root, self.held, self.hive = root, held, hive
        self.files: dict[str, Rows] = {}
        self._forms: dict[str, Form] = {}
        self._in_files = [column for column in held if not (hive and column.name == "p")]

    @property
    def rows(self) -> Rows:
        return [row for rows in self.files.values() for row in rows]

    def put(self, name: str, rows: Rows, form: Form, spark: Any = None) -> None:
        """Write a file, in place of the one that has the name; with `hive`, all rows must have one `p`."""
        if self.hive:
            (value,) = {row["p"] for row in rows}
            name = (
                name
                if name.startswith("p=")
                else f"p={NULL_FOLDER if value is None else quote(value, safe='')}/{name.rpartition('/')[2]}"
            )
        held = [column for column in self._in_files if not self._lacks(column, rows, form)]
        write_file(self.root / name, table_of(rows, held, physical=True), form, spark)
        self.files[name], self._forms[name] = rows, form

    def renumber(self, name: str, first_id: int) -> int:
        """Rewrite a file with other ids and nothing else: its size stays, mostly, and its time does.

        Returns:
            The next id.
        """
        before = (self.root / name).stat()
        rows = [row | {"id": first_id + place} for place, row in enumerate(self.files[name])]
        # Without statistics, no byte of the footer may tell the two apart: docs/decisions/0001.
        self.put(name, rows, replace(self._forms[name], statistics=True, writer="pyarrow"))
        os.utime(self.root / name, ns=(before.st_atime_ns, before.st_mtime_ns))
        return first_id + len(rows)

    def overwrite(self, name: str, first_id: int) -> int:
        """Write other ids over a file's own bytes, as no careful writer does.

        Returns:
            The next id.
        """
        path = self.root / name
        aside = path.with_name(f".{path.name}.aside")
        aside.hardlink_to(path)
        rows = [row | {"id": first_id + place} for place, row in enumerate(self.files[name])]
        self.put(name, rows, self._forms[name])
        content = path.read_bytes()
        aside.replace(path)
        path.write_bytes(content)
        return first_id + len(rows)

    def put_twin(self, name: str, column: Column, twin: str, *, alone: bool) -> Path:
        """Write a file with a column of that name, beside all others or alone; it does not count as one of `files`."""
        found = table_of([{}], [] if alone else self._in_files)
        found = pa.Table.from_arrays([*found.columns, pa.nulls(1, column.arrow)], names=[*found.column_names, twin])
        path = self.root / (f"p={NULL_FOLDER}" if self.hive else "") / name
        write_file(path, found, Form())
        return path

    @staticmethod
    def _lacks(column: Column, rows: Rows, form: Form) -> bool:
        may_lack = form.lacks_columns and column.name not in ("p", *form.always)
        return may_lack and all(row[column.name] is None for row in rows)

    def delete(self, name: str) -> None:
        (self.root / name).unlink()
        del self.files[name]

    def rename(self, name: str, to: str) -> None:
        """Move a file within its folder."""
        to = f"{name.rpartition('/')[0]}/{to.rpartition('/')[2]}".lstrip("/") if self.hive else to
        if to not in self.files:
            (self.root / to).parent.mkdir(exist_ok=True)
            (self.root / name).rename(self.root / to)
            self.files[to], self._forms[to] = self.files.pop(name), self._forms.pop(name)

    def touch(self, name: str, seconds: int) -> None:
        status = (self.root / name).stat()
        os.utime(self.root / name, ns=(status.st_atime_ns, status.st_mtime_ns + seconds * 10**9))


class DeltaSource:
    """A Delta table, partitioned by `p` or not."""

    def __init__(self, root: Path, held: list[Column], *, partitioned: bool) -> None:
        self.root, self.held = root, held
        self.rows: Rows = []
        self._partition_by = ["p"] if partitioned else None

    def put(self, _name: str, rows: Rows, _form: Form, _spark: Any = None) -> None:
        write_deltalake(str(self.root), table_of(rows, self.held), mode="append", partition_by=self._partition_by)
        self.rows = self.rows + rows

    def delete_rows(self, ids: set[int]) -> None:
        wanted = [row for row in self.rows if row["id"] not in ids]
        if len(wanted) < len(self.rows):
            DeltaTable(str(self.root)).delete(f"id in ({', '.join(map(str, sorted(ids)))})")
            self.rows = wanted

    def compact(self) -> None:
        DeltaTable(str(self.root)).optimize.compact()
