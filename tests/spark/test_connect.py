"""Spark Connect, in a process of its own: Spark allows one kind of session a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(300)
@pytest.mark.promise("M216")
def test_the_verbs_of_this_room_work_on_connect(tmp_path):
    """Typed, lazy, hooks, empty inputs, input tables, Spark ML pipelines: as on classic Spark, with no RDD; nothing is left behind."""
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("connect_session.py"), tmp_path / "data"],
        # Spark then takes a free port instead of 15002, which another server on this host may hold.
        env={
            **{key: value for key, value in os.environ.items() if key != "SPARK_REMOTE"},
            "SPARK_TESTING": "1",
            "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])]),
        },
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        timeout=260,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["module"].startswith("pyspark.sql.connect")
    assert said["slots"] == 2
    assert said["schema"] == [
        ["id", "bigint"], ["x", "double"], ["predicted_class", "string"], ["confidence", "float"],
        ["prediction_error", "string"],
    ]  # fmt: skip
    assert said["rows"] == [[i, str(1 - i % 2)] for i in range(8)]
    assert said["empty"] == [True, []]
    assert said["lazy"] == [name for name, _ in said["schema"]]
    assert said["input"] == [1, 1, 0]
    assert said["scored"] == ["spark_ml_predict", 0, 10, 10, {"0": 5, "1": 5}]
    assert said["reasons"][0] == [
        "SparktorchError",
        "task 'echo': the Spark job failed: Odd: plain words. Nothing was committed",
    ]
    assert said["reasons"][1] == ["SparktorchError", "Odd: plain words [task 'echo', bringing the model up]"]
    assert said["reasons"][2][0] == "PythonException"
    assert "score_nets.Odd: plain words" in said["reasons"][2][1]
    assert said["pipeline"] == [[-9.0, 10.0]] * 3
    assert said["zone"] == "UTC"
    assert said["left"] == []
    assert "Failed to set" not in done.stderr
