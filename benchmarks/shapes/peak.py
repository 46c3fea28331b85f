"""The most memory that a process has held, as Linux knows it.

Not `ru_maxrss`: a process inherits that of the one which started it.
"""

import re
from pathlib import Path


def forget_peak() -> None:
    """Let the peak of this process begin again at what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb(process: int | str = "self") -> float:
    """The peak of a process, by its number, in MB of 2^20 bytes.

    Raises:
        OSError: there is no such process.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0  # an ended process holds nothing
