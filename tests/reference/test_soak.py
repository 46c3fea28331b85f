"""The beginning of the long run of `make soak`: its history is the same one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from soak import Taken, grown

STEADY = {"worker_mib": 200.0, "files": 300.0, "threads": 90.0, "processes": 4.0}


def taken(memory):
    return [Taken(memory_mib=value, **STEADY) for value in memory]


def test_what_grows_is_told_from_what_goes_up_and_down():
    assert grown(taken([600.0 + number % 7 for number in range(100)])) == []
    assert grown(taken([600.0 + number for number in range(100)])) == ["memory_mib"]
    assert grown(taken([600.0 - number for number in range(100)])) == []


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(900)
@pytest.mark.promise("O255")
def test_twenty_refreshes_with_changes_and_faults_are_exact():
    """Too few to tell whether anything grows: that is for `make soak`."""
    soak = Path(__file__).with_name("soak.py")
    environment = os.environ | {"PYTHONPATH": str(soak.parents[2])}
    done = subprocess.run(
        [sys.executable, soak, "--steps", "20"], env=environment, capture_output=True, text=True, check=False
    )
    assert "20 refreshes in " in done.stdout, done.stdout + done.stderr
    assert "every row as the reference says" in done.stdout
    for fault in ("a killed worker", "a killed driver", "a damaged part", "code", "weights"):
        assert fault in done.stdout, f"the history lacks {fault}"
