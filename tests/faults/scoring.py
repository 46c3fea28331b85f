"""A run in a process of its own: refreshes the table in the folder that is its first argument.

Further arguments: the master, the seconds per row, and settings of the session as JSON.
"""

import json
import sys
from pathlib import Path

from faulty_world import score

from sparktorch_assets.spark.session.start import start_session


def main(root: Path, master: str = "local[2]", seconds_per_row: str = "0", config: str = "{}") -> None:
    def session():
        defaults = {"spark.driver.memory": "600m", "spark.ui.enabled": "false"}
        return start_session(master=master, config=defaults | json.loads(config))

    report = score(session, root, "table", float(seconds_per_row))
    counts = [report.shards_new, report.shards_resumed, report.shards_unchanged, report.rows_table]
    sys.stdout.write(f"SHARDS {' '.join(map(str, counts))}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
