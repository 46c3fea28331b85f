"""An input whose files are shards, and a model, in a cluster's shared folder."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from lone_files import lone_file

FILES, ROWS = 8, 25


def write_source(shared: Path) -> None:
    """Write `source` and `models`."""
    (shared / "source").mkdir()
    for number in range(FILES):
        ids = range(number * ROWS, (number + 1) * ROWS)
        columns = {"id": list(ids), "a": [(i % 11) - 5.5 for i in ids], "b": [(i % 5) - 2.5 for i in ids]}
        pq.write_table(pa.table(columns), shared / "source" / lone_file(f"part{number}"))
    (shared / "models").mkdir()
    (shared / "models" / "seed.txt").write_text("3")


def noted(notes: Path) -> set[tuple[str, ...]]:
    """The executors that a model noted: host and daemon."""
    return {tuple(line.split()[:2]) for line in notes.read_text().splitlines()} if notes.exists() else set()
