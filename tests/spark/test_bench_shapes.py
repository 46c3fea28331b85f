"""`make bench-shapes` runs: shapes of each kind at a tiny size, in which only the results of both ways mean something.

The other shapes start servers, many processes or sleep, and take minutes whatever their size.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHAPES = ["B", "F", "G", "H", "I", "N", "files"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shapes_are_measured_and_both_ways_find_the_same(tmp_path):
    """A shape that fails, or in which the library and the loop by hand find other rows or classes, is an exit status."""
    ran = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "bench_shapes.py"),
            "--scale",
            "0.005",
            "--rounds",
            "1",
            "--only",
            *SHAPES,
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4_000:]
    last = json.loads(ran.stdout.splitlines()[-1])
    assert last["benchmark"] == "shapes"
    shapes = {result["shape"]: result for result in last["results"]}
    assert shapes.keys() == set(SHAPES)
    for result in shapes.values():
        assert {"median_s", "floor_s", "ratio", "exponent"} <= result.keys()
        assert (result["ratio"] is None) != (result["exponent"] is None)
        assert set(result["missed"]) <= result["target"].keys()
        assert f"\n{result['shape']} " in ran.stdout  # the line of the table
