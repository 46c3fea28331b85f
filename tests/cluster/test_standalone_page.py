"""The commands of docs/clusters.md, as they are written there: on a host `head`, and on `node1` and `node2`."""

import os
import re
import sys
from pathlib import Path

import pytest
from hosts import hosts, why_not_apart
from page_blocks import ROOT, blocks_run_by
from servers import eventually
from standalone import SMALL, registered_workers

from sparktorch_assets.spark.session.java import prepare_java

pytestmark = [pytest.mark.cluster, pytest.mark.jvm, pytest.mark.timeout(900)]


@pytest.mark.promise("O207")
@pytest.mark.skipif(bool(why_not_apart()) and "TESTS_NEED_EVERY_PROGRAM" not in os.environ, reason=why_not_apart())
def test_the_commands_of_the_page_score_a_table_on_two_hosts(tmp_path):
    master, worker, script, run = blocks_run_by(__file__)
    prepare_java()
    activated = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with hosts(["head", "node1", "node2"], tmp_path) as (head, *nodes):
        (tmp_path / "shared" / script.file).write_text(script.text)
        started = head.server("master", ["bash", "-c", master.text], **activated, **SMALL)
        eventually(lambda: "I have been elected leader" in started.log.read_text(), servers=[started])
        workers = [node.server("worker", ["bash", "-c", worker.text], **activated, **SMALL) for node in nodes]
        eventually(lambda: registered_workers(started) == 2, servers=[started, *workers])
        done = head.run(["bash", "-c", run.text], timeout=400, **activated)
        (promised,) = re.findall(r"It prints `(.*?)`", (ROOT / "docs" / "clusters.md").read_text())
        assert done.stdout.strip() == promised, done.stderr
        for one in workers:
            assert "Asked to launch executor" in one.log.read_text()
