"""A task that fails is told once, by the driver's exception, and not by Spark's log as well."""

import subprocess
import sys

import pytest

PROGRAM = """
from sparktorch_assets import start_session

def fails(batches):
    raise ValueError("told once")

try:
    start_session(master="local[1]").range(1).mapInArrow(fails, "id long").collect()
except Exception as error:
    assert "told once" in str(error)
"""


@pytest.mark.slow
def test_sparks_log_does_not_repeat_a_workers_error():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200, check=True)
    assert "told once" not in ran.stderr
    assert "\tat org.apache.spark" not in ran.stderr
