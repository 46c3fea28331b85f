"""What happens on several hosts and not on one: executors die, and folders are other folders elsewhere."""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from both_verbs import task
from deltalake import DeltaTable
from servers import eventually
from shards import FILES, ROWS, noted, write_source

from sparktorch_assets.predict.frame import predict_frame
from sparktorch_assets.predict.loader import ModelLoader

pytestmark = [pytest.mark.cluster, pytest.mark.jvm, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
SCORE = """
import sys
from pathlib import Path
from both_verbs import *
where, shared = sys.argv[1], Path(sys.argv[2])
spark = session(where)
wait_for_executors(spark, 2)
report = score_table(
    spark, str(shared / "source"), task(shared / "notes", seconds_per_batch=3.0), output_table=str(shared / "table"),
    model_loader=ModelLoader(shared / "models"), slots=SlotPolicy(device="cpu"))
print("SHARDS", report.shards_new, report.shards_resumed, report.version)
"""


@pytest.fixture(scope="module")
def source(cluster):
    write_source(cluster.folder)


@pytest.mark.promise("O203")
@pytest.mark.usefixtures("source")
def test_an_executor_killed_in_the_middle_costs_no_row(cluster, tmp_path):
    """With -9, while it works on a shard: Spark gives its shards to others, and the worker starts another executor."""
    path = f"{HERE}:{HERE.parents[1]}"
    command = [sys.executable, "-c", SCORE, cluster.url, cluster.driver.shared]
    program = cluster.driver.server("score", command, PYTHONPATH=path)
    victim = cluster.workers[0]
    try:
        eventually(lambda: len(noted(cluster.folder / "notes")) == 2, seconds=240, servers=[program])
        (executor,) = cluster.executors(victim)
        executor.kill()
        killed = time.monotonic()
        program.process.wait(300)
    finally:
        program.stop()
    assert f"SHARDS {FILES} 0 0" in program.said(), program.said()
    assert time.monotonic() - killed > 3.0  # it was at work
    table = DeltaTable(cluster.folder / "table")
    assert table.version() == 0
    found = table.to_pyarrow_table().sort_by("id").to_pandas()
    frame = pq.read_table(cluster.folder / "source").sort_by("id").to_pandas()
    nets = task(tmp_path / "notes", seconds_per_batch=0)
    wanted = predict_frame(frame, nets, model_loader=ModelLoader(cluster.folder / "models"))
    assert len(wanted) == sum(number % 7 > 0 for number in range(FILES * ROWS))
    assert found.to_dict("records") == wanted.reset_index(drop=True).to_dict("records")


@pytest.mark.promise("O204")
@pytest.mark.usefixtures("source")
def test_a_folder_that_hosts_do_not_share_is_an_error_and_nothing_is_committed(cluster):
    """A path may exist on each host and be another folder on each. Spark then writes rows where nobody finds them."""
    if not cluster.driver.is_apart:
        pytest.skip("all hosts are this one, and share every folder")
    for worker in cluster.workers:
        worker.run(["mkdir", "-p", "/tmp/own/table", "/tmp/own/frame", "/tmp/own/things"])
    done = cluster.driver.run(
        [sys.executable, HERE / "unshared_folders.py", cluster.url, str(cluster.driver.shared)], timeout=500
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    own = "/tmp/own"
    expected = {
        "output": ("TableError", f"{own}/table/part-", "did a host write it that does not share this folder?"),
        "input": ("TableError", f"'{own}/source/part", "does not share this folder"),
        "models": ("ModelError", f"there is no file {own}/models/seed.txt", "bringing the model up"),
        "output of a frame": ("TableError", f"rows to '{own}/frame', and 0 are there", "the same one on all hosts"),
        "lake of an input": ("TableError", f"wrote {FILES * ROWS} rows to '{own}/things', and 0 are there", "mounted"),
    }
    for name, (kind, *parts) in expected.items():
        assert said[name][0] == kind, said[name]
        for part in parts:
            assert part in said[name][1], said[name]
    assert said["committed"] == []
