"""Faults to inject into tests of your own tables, and a check of what the table holds afterwards.

Everything here acts on this host, and nothing here runs unless a test calls it. Processes are found in `/proc`, so this
needs Linux. `docs/reliability.md` has an example.
"""

from sparktorch_assets.testing.faults.files import cut_short, flip_bytes, live_files
from sparktorch_assets.testing.faults.processes import executors, killing, python_workers, signal_at_random
from sparktorch_assets.testing.faults.rows import assert_same_rows, leftovers
from sparktorch_assets.testing.faults.small_disk import SmallDisk, small_disk
from sparktorch_assets.testing.faults.steps import Killed, at_step, die, killed_at

__all__ = [
    "Killed",
    "SmallDisk",
    "assert_same_rows",
    "at_step",
    "cut_short",
    "die",
    "executors",
    "flip_bytes",
    "killed_at",
    "killing",
    "leftovers",
    "live_files",
    "python_workers",
    "signal_at_random",
    "small_disk",
]
