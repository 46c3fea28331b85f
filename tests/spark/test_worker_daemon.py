"""Workers are forked from a process that has imported what they need, where that is safe and surely works."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sparktorch_assets.spark.session.startup.preloaded_workers import with_preloaded_workers

ROOT = Path(__file__).parents[2]
MODULE = "spark.python.daemon.module"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the daemon is for Linux")


def seen_by(spark, probe):
    """What two workers, which run at the same time, return as a text each."""

    def run(batches):
        import time

        import pyarrow as pa

        list(batches)
        text = probe()
        time.sleep(0.5)  # else one worker might do both tasks
        yield pa.RecordBatch.from_pydict({"text": [text]})

    return [row.text for row in spark.range(0, 2, 1, 2).mapInArrow(run, "text string").collect()]


@pytest.mark.promise("O238")
def test_workers_have_imported_torch_and_this_package_when_they_start(spark):
    """They have it from their parent, which has one thread. It is Spark's workers alone that this is for: nothing of
    Dagster's is loaded."""

    def probe():
        import os
        import sys
        from pathlib import Path

        parent = os.getppid()
        with open(f"/proc/{parent}/cmdline") as file:
            command = file.read()
        names = "torch", "pyarrow.dataset", "sparktorch_assets.predict.model.torch_model", "dagster"
        return repr(
            (
                "worker_daemon" in command,
                len(list(Path(f"/proc/{parent}/task").iterdir())),
                [name in sys.modules for name in names],
            )
        )

    assert set(seen_by(spark, probe)) == {repr((True, 1, [True, True, True, False]))}


@pytest.mark.promise("O240")
def test_workers_draw_random_numbers_of_their_own(spark):
    """As workers do that have imported numpy themselves."""

    def probe():
        import os
        import random

        import numpy as np

        return f"{os.getpid()} {random.random()} {np.random.rand()}"  # noqa: NPY002  (the generator that all share)

    one, other = (text.split() for text in seen_by(spark, probe))
    assert [first == second for first, second in zip(one, other, strict=True)] == [False, False, False]


def daemon(program, **environment):
    """The daemon, as Spark starts it, until it has said its port. Returned are the port, stderr, and what runs then."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, "pyspark.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    (port,) = struct.unpack("!i", process.stdout.read(4))
    command = Path(f"/proc/{process.pid}/cmdline").read_text()
    process.stdin.close()  # this is how Spark ends it
    said = process.stderr.read().decode()
    process.wait(60)
    return port, said, command


START = "from sparktorch_assets.spark import worker_daemon; worker_daemon.main()"
THREAD = f"import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); {START}"
GPU = f"import os; os.readlink = lambda path: '/dev/nvidia0'; {START}"


@pytest.mark.promise("O239")
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (THREAD, "the imports have started 1 threads"),
        (GPU, "the imports have opened /dev/nvidia0"),
        (f"import sys; sys.modules['torch'] = None; {START}", "ModuleNotFoundError: import of torch halted"),
    ],
    ids=["thread", "gpu", "import"],
)
def test_where_a_fork_is_not_safe_workers_import_for_themselves(program, reason):
    """The process becomes Spark's own daemon, which says its port as Spark expects."""
    port, said, command = daemon(program)
    assert 0 < port < 1 << 16
    assert f"Spark's Python workers import torch themselves: {reason}" in said
    assert "pyspark.daemon" in command


@pytest.mark.promise("O239")
def test_what_an_import_prints_does_not_reach_spark(tmp_path):
    """Spark takes the first bytes of stdout for a port."""
    (tmp_path / "tokenizers.py").write_text("print('welcome to tokenizers')")
    port, said, command = daemon(START, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert 0 < port < 1 << 16
    assert "welcome to tokenizers" in said
    assert "pyspark.daemon" not in command


@pytest.mark.promise("O239", "O243")
def test_only_workers_that_surely_find_this_package_get_its_daemon(tmp_path, monkeypatch):
    """Others could not start at all. A daemon of the user's own is kept."""
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert with_preloaded_workers({}, {})[MODULE] == "sparktorch_assets.spark.worker_daemon"
    assert with_preloaded_workers({MODULE: "mine"}, {MODULE: "mine"}) == {MODULE: "mine"}
    bound = {
        "spark.executor.pyspark.memory": "4g"
    }  # from the start, so that what fails is an import, which is explained
    assert with_preloaded_workers(bound, bound) == bound
    alone = tmp_path / "python"
    alone.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    alone.chmod(0o755)
    monkeypatch.setenv("PYSPARK_PYTHON", str(alone))
    assert with_preloaded_workers({}, {}) == {}
    monkeypatch.setenv("PYSPARK_PYTHON", str(tmp_path / "nothing"))
    assert with_preloaded_workers({}, {}) == {}
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARKTORCH_WORKER_DAEMON", "off")
    assert with_preloaded_workers({}, {}) == {}
