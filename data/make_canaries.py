"""Write the canaries of the task `digit`: images whose digit is known, two of each.

    python data/make_canaries.py

They are the first rows of data/digits/digits.parquet, whose digits take turns, with the label as the class that a model
has to predict. A new model is asked them before anything is scored with it: see docs/checks.md.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).parent
ROWS = 20


def main() -> None:
    """Write data/models/digit/canaries.parquet."""
    rows = pq.read_table(DATA / "digits" / "digits.parquet").slice(0, ROWS)
    path = DATA / "models" / "digit" / "canaries.parquet"
    pq.write_table(
        pa.table({name: rows[name] for name in rows.column_names} | {"predicted_class": rows["label"]}), path
    )
    print(f"{path.stat().st_size:>9,} bytes  {path.relative_to(DATA).as_posix()}")


if __name__ == "__main__":
    main()
