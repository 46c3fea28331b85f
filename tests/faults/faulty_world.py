"""A table to be scored while something goes wrong: files of a few rows, each of which is a shard of its own, and a network
whose answers anybody can compute."""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fake_session import FakeSession
from lone_files import lone_file

from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.report.report import ScoreReport
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature, SlotPolicy
from sparktorch_assets.testing.faults import assert_same_rows, leftovers

TESTS = Path(__file__).parents[1]
NETS = TESTS / "spark" / "score_nets.py"
_IMPORTED = [TESTS / "faults", TESTS / "spark", TESTS, TESTS.parent]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, _IMPORTED))}
"""Of a run in a process of its own, and of its workers."""
FILES, ROWS = 8, 40
WRITTEN = {"write_page_checksum": True, "compression": "none"}
"""How the files are written: their pages have checksums, as those that Spark writes, and as many bytes whatever the values."""


def task(seconds_per_row: float = 0.0, weights: str | None = None) -> MlTask:
    """Two classes, by the sign of the first feature; a batch takes time in proportion to its rows. With a file of weights,
    nobody knows the answers, and they take no time."""
    arguments = {"seconds_per_row": seconds_per_row} if weights is None else {}
    factory = "score_nets:sleeps" if weights is None else "score_nets:from_file"
    return MlTask(
        name="t",
        input="source",
        model=ModelSpec(factory=factory, weights=weights, arguments=arguments, trust_code=True),
        features=[NumericFeature(columns=["a", "b"])],
        labels=["no", "yes"] if weights is None else ["x", "y", "z"],
        batch=BatchPolicy(batch_size=8, window_rows=16),
    )


def write_source(root: Path, files: int = FILES, rows: int = ROWS, first: int = 0) -> list[Path]:
    """Files of rows with numbers of their own, each one a shard."""
    folder = root / "source"
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(first, first + files):
        ids = np.arange(number * rows, (number + 1) * rows)
        table = pa.table({"id": ids, "a": np.where(ids % 3, 1.0, -1.0) * (ids + 1), "b": ids / 7})
        found.append(folder / lone_file(f"file{number}"))
        pq.write_table(table, found[-1], **WRITTEN)
    return found


def score(session: object, root: Path, table: str | Path = "table", seconds_per_row: float = 0.0) -> ScoreReport:
    """Refresh the table in `root`. If there is a file `seed.txt`, it holds the weights."""
    return score_table(
        session,
        str(root / "source"),
        task(seconds_per_row, "seed.txt" if (root / "seed.txt").exists() else None),
        output_table=str(root / table),
        model_loader=ModelLoader(root, device="cpu"),
        slots=SlotPolicy(device="cpu"),
        on_progress=lambda _: None,
    )


def score_here(root: Path, table: str | Path = "table", seconds_per_row: float = 0.0) -> ScoreReport:
    """Refresh the table in this process, without Spark."""
    sys.path.insert(0, str(NETS.parent))
    try:
        return score(FakeSession(), root, table, seconds_per_row)
    finally:
        sys.path.remove(str(NETS.parent))


def assert_exact(root: Path, table: str | Path = "table") -> None:
    """The table has the rows of a table of the same input that nothing happened to, each of them once, and the run that made
    it so has left nothing behind."""
    due = root / "reference"
    score_here(root, due)
    assert_same_rows(str(root / table), str(due), key=["id"])
    assert Table(str(root / table)).row_count() == Table(str(due)).row_count()
    assert leftovers(str(root / table)) == []


def temporary_files(folder: Path) -> list[str]:
    """What killed or failed writers have left there."""
    return sorted(path.name for path in folder.rglob("*.tmp"))
