"""The rows on which both tasks disagree most: found while rows are compared, and then read with what shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from sparktorch_assets.comparison.matched_rows import FILE, ROW, Matched
from sparktorch_assets.lake.table import Table

_BATCH_ROWS = 1024


class Disagreements:
    """The strongest disagreements so far.

    Args:
        most: how many are kept.
        shown: the compared columns that are shown, by their names in matched rows.
    """

    def __init__(self, most: int, shown: Sequence[str]) -> None:
        self._most, self._shown = most, shown
        self._kept: pa.Table | None = None

    def add(self, rows: Matched, strength: pa.ChunkedArray) -> None:
        """Keep the strongest of these rows and of those before.

        Args:
            rows: matched rows.
            strength: how strong the disagreement on each row is; null if there is none.
        """
        if not self._most:
            return
        columns = {"strength": strength}
        for side in ("champion", "challenger"):
            table: pa.Table = getattr(rows, side)
            columns |= {f"{side}_{name}": table[name] for name in (*self._shown, FILE, ROW)}
        found = pa.table(columns)
        found = found.filter(found["strength"].is_valid())
        together = found if self._kept is None else pa.concat_tables([self._kept, found])
        # Where a row lies breaks ties, so that the same tables always show the same rows.
        order = [("strength", "descending"), (f"champion_{FILE}", "ascending"), (f"champion_{ROW}", "ascending")]
        self._kept = together.sort_by(order).slice(0, self._most).combine_chunks()

    def read(self, sides: Mapping[str, Table], columns: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """The rows, the strongest disagreement first: the given columns of each side's table, then what both predict.

        Args:
            sides: `champion` and `challenger`, each with its table.
            columns: for each side, the columns to read from its table.
        """
        kept = [] if self._kept is None else self._kept.to_pylist()
        rows: list[dict[str, Any]] = [{} for _ in kept]
        for side, table in sides.items():
            places = [(row[f"{side}_{FILE}"], row[f"{side}_{ROW}"]) for row in kept]
            for row, found in zip(rows, _rows_at(table, places, columns[side]), strict=True):
                row.update(found)
        for row, found in zip(rows, kept, strict=True):
            row.update({f"{side} {name}": found[f"{side}_{name}"] for name in self._shown for side in sides})
        return rows


def _rows_at(table: Table, places: Sequence[tuple[int, int]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows at these places; a file is read no further than its last wanted row."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for index in sorted({index for index, _ in places}) if columns else ():
        wanted, start = sorted(row for file, row in set(places) if file == index), 0
        for batch in table.file_batches(index, columns, _BATCH_ROWS):
            while wanted and wanted[0] < start + batch.num_rows:
                row = wanted.pop(0)
                found[index, row] = batch.slice(row - start, 1).to_pylist()[0]
            start += batch.num_rows
            if not wanted:
                break
    return [found.get(place, {}) for place in places]
