"""`make bench-gpu` runs, as far as it can without a GPU: its figures mean nothing here, but its last line is complete."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_it_measures_on_the_cpu(tmp_path):
    """One and two model instances, each beside the network alone; what only a GPU has is said to be not measured."""
    command = [sys.executable, ROOT / "benchmarks" / "bench_gpu.py", "mlp", "--device", "cpu", "--scale", "small"]
    done = subprocess.run(
        [*command, "--executions", "fp32"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    results = json.loads(last)["results"]
    assert [result["models_per_gpu"] for result in results] == [1, 2]
    for result in results:
        assert result["rows_per_s"] > 0
        assert result["model_only_rows_per_s"] > 0
        assert (result["busy_share"], result["memory_growth_mib"]) == (None, None)
    assert all(line.count("not measured") == 2 for line in table[2:])
