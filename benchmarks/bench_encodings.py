"""Does the encoding that a part's writer chooses per column pay? `make bench-encodings`.

Each kind of column is written with Parquet's default (a dictionary everywhere) and with the choice of
`lake.encodings.dictionary_columns`, in turn; medians of five, and the files' sizes. Ends with one JSON line.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.lake.parquet.encodings import dictionary_columns

ROWS = 250_000
IMAGES = 5_000
REPEATS = 5


def tables() -> dict[str, pa.Table]:
    """One table for each kind of column."""
    rng = np.random.default_rng(0)
    words = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do"]
    texts = [" ".join(words[i] for i in rng.integers(0, 10, 30)) for _ in range(ROWS // 10)]
    return {
        "16 floats": pa.table({f"f{i}": rng.random(ROWS, dtype=np.float32) for i in range(16)}),
        "ids": pa.table({"id": [f"row-{row:012}" for row in range(ROWS)]}),
        "low-cardinality strings": pa.table({"s": [words[i] for i in rng.integers(0, 10, ROWS)]}),
        "long texts": pa.table({"t": texts}),
        "images": pa.table({"i": [rng.bytes(3_000) for _ in range(IMAGES)]}),
    }


def write(table: pa.Table, path: Path, columns: Any) -> tuple[float, int]:
    """Seconds and bytes."""
    started = time.perf_counter()
    pq.write_table(table, path, use_dictionary=columns)
    return time.perf_counter() - started, path.stat().st_size


def main() -> None:
    """Measure each kind."""
    print(f"{'column':<26}{'default s':>11}{'chosen s':>10}{'speed-up':>10}{'size':>7}   chosen")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.parquet"
        for name, table in tables().items():
            chosen = dictionary_columns(table.to_batches()[0])
            pairs = [(write(table, path, True), write(table, path, chosen or False)) for _ in range(REPEATS)]
            default_s, chosen_s = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
            size = pairs[0][1][1] / pairs[0][0][1]
            kind = "dictionary" if chosen else "plain"
            print(f"{name:<26}{default_s:>11.3f}{chosen_s:>10.3f}{default_s / chosen_s:>10.1f}{size:>7.2f}   {kind}")
            results.append(
                {
                    "column": name,
                    "default_s": round(default_s, 4),
                    "chosen_s": round(chosen_s, 4),
                    "size": round(size, 3),
                }
            )
    print(json.dumps({"benchmark": "encodings", "results": results}))


if __name__ == "__main__":
    main()
