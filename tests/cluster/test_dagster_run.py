"""A Dagster run whose Spark session is on a cluster."""

import json
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

pytestmark = [pytest.mark.cluster, pytest.mark.jvm, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
IMAGES = 5_000
KNOWN_ACCURACY = 0.9986


@pytest.mark.promise("O206")
def test_a_part_of_the_sample_graph_is_materialized_on_a_cluster(cluster):
    """Its input, which executors read and write, its model, and its predictions, with their checks: the known answers."""
    command = [sys.executable, HERE / "dagster_run.py", cluster.url, str(cluster.driver.shared / "lake")]
    done = cluster.driver.run(command, timeout=500)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["success"], said["failed"]
    assert said["checks"]
    assert all(said["checks"].values()), said["checks"]
    predictions = DeltaTable(cluster.folder / "lake" / "predictions" / "digit").to_pyarrow_table()
    assert predictions.num_rows == IMAGES
    right = sum(
        row["label"] == row["predicted_class"] for row in predictions.select(["label", "predicted_class"]).to_pylist()
    )
    assert right / IMAGES == pytest.approx(KNOWN_ACCURACY, abs=1e-4)
