"""How often a materialization opens the Delta logs of its input and its output: each open is a round trip to the store."""

from collections import Counter
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from jobs_here import JobsHere

from sparktorch_assets.lake.log import history, snapshot
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

TASK = MlTask(
    name="above",
    input="numbers",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["no", "yes"],
)


class Here(dg.ConfigurableResource):
    @property
    def spark_session(self) -> Any:
        return JobsHere()


@pytest.mark.promise("T99")
def test_a_refresh_opens_each_log_a_few_times(tmp_path, monkeypatch):
    """The input's once; the output's when the refresh is planned, when it is committed, and for what the page shows."""
    source = str(tmp_path / "data" / "lake" / "numbers")
    resources = {
        "spark": Here(),
        "model_loader": ModelLoaderResource(project_root=str(tmp_path), device="cpu"),
        "lake": LakeResource(project_root=str(tmp_path)),
    }
    opened, listed = Counter[str](), Counter[str]()

    def counting_open(uri, version=None, **options):
        opened[uri.rpartition("/")[2]] += 1
        return DeltaTable(uri, version=version, **options)

    def counting_infos(folder, version=None):
        listed[folder.uri.rpartition("/")[2]] += 1
        return COMMIT_INFOS(folder, version)

    monkeypatch.setattr(snapshot, "DeltaTable", counting_open)
    COMMIT_INFOS = history.commit_infos
    monkeypatch.setattr("sparktorch_assets.lake.log.own_metadata.commit_infos", counting_infos)

    def materialize():
        opened.clear()
        listed.clear()
        result = dg.materialize([build_prediction_asset(TASK)], resources=resources)
        return result.asset_materializations_for_node("predict_above")[0].metadata["dagster/row_count"].value

    for rows, times in ((3, 2), (6, 3)):  # the first time, there is no log to open before the commit
        write_deltalake(source, pa.table({"x": [1.0, -1.0, 2.0]}), mode="append")
        assert materialize() == rows
        assert opened == {"numbers": 1, "above": times}
        assert listed["above"] <= 1
    assert materialize() == 6  # nothing to do
    assert opened == {"numbers": 1, "above": 2}
    assert listed == {"above": 1}
