"""Tables of random floats with an id."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shapes.networks import LABELS
from sparktorch_assets import MlTask, ModelSpec, NumericFeature

FEATURES = [f"f{number}" for number in range(16)]


def rows_of(count: int, columns: int = 16, seed: int = 0, first: int = 0) -> pa.Table:
    """`count` rows of `columns` floats and a string id, numbered from `first`."""
    drawn = np.random.default_rng(seed)
    named = {f"f{number}": drawn.random(count, dtype=np.float32) for number in range(columns)}
    return pa.table({"id": [f"row-{first + row:012}" for row in range(count)]} | named)


def write(rows: pa.Table, path: Path, **options: object) -> None:
    """Write a file, plainly: random floats gain nothing from a dictionary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, **({"use_dictionary": False} | options))


def task(name: str = "shape", **fields: object) -> MlTask:
    """An MLP over 16 floats, or what `fields` say instead."""
    usual: dict[str, object] = {
        "model": network("mlp"),
        "features": [NumericFeature(columns=FEATURES)],
        "labels": LABELS,
        "input": "source",
    }
    return MlTask(name=name, **(usual | fields))  # type: ignore[arg-type]


def network(name: str, **arguments: object) -> ModelSpec:
    """A network of `networks.py`."""
    return ModelSpec(factory="shapes.networks:build", arguments={"network": name, **arguments})
