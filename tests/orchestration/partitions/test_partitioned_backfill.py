"""A backfill of three months, from files to Dagster's records, on a real session: one month is refused, then accepted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster_pyspark import LazyPySparkResource
from deltalake import DeltaTable
from orchestration_fakes import NoSpark

from sparktorch_assets.errors import PartitionsRefusedError
from sparktorch_assets.lake.table import Table
from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_assets
from sparktorch_assets.orchestration.check_definitions import check_definitions
from sparktorch_assets.orchestration.partitions.definition import partitions_definition
from sparktorch_assets.orchestration.partitions.runs import range_tags
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.tasks import InputTable, MlTask, ModelSpec, NumericFeature, TimePartitions

pytestmark = [pytest.mark.jvm, pytest.mark.slow, pytest.mark.timeout(300)]

JANUARY, FEBRUARY, MARCH = MONTHS = ["2013-01-01", "2013-02-01", "2013-03-01"]
BY_MONTH = TimePartitions(by="month", column="at", start=JANUARY, end="2013-04-01", timezone="America/New_York")
TABLE = InputTable(
    name="events",
    source="in/*.csv",
    format="csv",
    options={"header": True},
    columns={"id": "long", "at": "timestamp", "x": "double"},
    partitions=BY_MONTH,
)
SIGN = MlTask(
    name="sign",
    input="events",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["below", "above"],
    max_failed_share=0.2,
    partitions=BY_MONTH,
)
AGAIN = replace(SIGN, name="again", input="predictions/sign", output_prefix="again_")
TOTAL = replace(AGAIN, name="total", partitions=None)

ROWS = {
    "1.csv": ["1,2013-01-01T05:00:00Z,1", "2,2013-02-01T04:59:59Z,-1"],  # the first and the last second of January
    "2.csv": ["3,2013-02-01T05:00:00Z,", "4,2013-02-10T00:00:00Z,1"],
    "3.csv": ["5,2013-03-10T00:00:00Z,-1", "6,2013-04-01T04:00:00Z,1"],  # the last row is of April: outside
}


class Project:
    """A folder with files and tables, and Dagster's records of it."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.root, self.instance = root, instance
        self.spark: Any = LazyPySparkResource(spark_config={})
        self.tasks = [SIGN, AGAIN, TOTAL]

    def run(self, *assets: str, keys: list[str] = MONTHS, ok: bool = True) -> dg.ExecuteInProcessResult:
        resources = {
            "spark": self.spark,
            "model_loader": ModelLoaderResource(project_root=str(self.root), device="cpu"),
            "lake": LakeResource(project_root=str(self.root)),
        }
        made = [build_input_asset(TABLE), *build_prediction_assets(self.tasks)]
        check_definitions(dg.Definitions(assets=made, resources=resources))
        result = dg.materialize(
            made,
            selection=[dg.AssetKey(name.split("/")) for name in assets],
            resources=resources,
            instance=self.instance,
            tags=range_tags(keys),
            raise_on_error=False,
        )
        assert result.success is ok
        return result

    def rows(self, task: str) -> dict[int, tuple[str | None, str]]:
        """Id -> class and month."""
        rows = DeltaTable(self.root / "data/lake/predictions" / task).to_pyarrow_table().to_pylist()
        prefix = "" if task == "sign" else "again_"
        return {row["id"]: (row[f"{prefix}predicted_class"], row["at_month"]) for row in rows}

    def status(self, task: str) -> tuple[set[str], set[str]]:
        """The months that Dagster shows as materialized, and as failed."""
        definition = partitions_definition(BY_MONTH)
        found = get_and_update_asset_status_cache_value(self.instance, dg.AssetKey(["predictions", task]), definition)
        assert found is not None
        subsets = (
            found.deserialize_materialized_partition_subsets(definition),
            found.deserialize_failed_partition_subsets(definition),
        )
        done, failed = ({str(key) for key in subset.get_partition_keys()} for subset in subsets)
        return done - failed, failed

    def version(self, task: str) -> int | None:
        return Table(str(self.root / "data/lake/predictions" / task)).version


def data_versions(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, Any]:
    return {
        event.partition: event.materialization.metadata["sparktorch/data_version"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset.split("/"))
    }


@pytest.mark.promise("O63", "O64", "O65", "O67")
@pytest.mark.usefixtures("spark")
def test_a_month_is_refused_the_others_are_published_and_it_is_accepted_later(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name, lines in ROWS.items():
        (tmp_path / "in" / name).write_text("\n".join(["id,at,x", *lines, ""]))
    with dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path, instance)
        read = data_versions(project.run("events", "models/sign"), "events")
        refused = project.run("predictions/sign", ok=False)
        # One of the two rows of February has no x, and 20 % may fail.
        assert project.rows("sign") == {1: ("above", JANUARY), 2: ("below", JANUARY), 5: ("below", MARCH)}
        assert project.status("sign") == ({JANUARY, MARCH}, {FEBRUARY})
        (failure,) = [event for event in refused.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
        error = failure.step_failure_data.error
        assert error is not None
        assert error.cause is not None
        assert error.cause.cls_name == PartitionsRefusedError.__name__
        assert f"{FEBRUARY}: task 'sign': 1 of 2 rows failed (50.00%)" in error.cause.message

        # Nobody has to score February again: its part is there.
        project.spark, project.tasks[0] = NoSpark(), replace(SIGN, max_failed_share=0.5)
        accepted = project.run("predictions/sign", keys=[FEBRUARY])
        assert project.rows("sign") == {
            1: ("above", JANUARY),
            2: ("below", JANUARY),
            5: ("below", MARCH),
            3: (None, FEBRUARY),
            4: ("above", FEBRUARY),
        }
        assert project.status("sign") == (set(MONTHS), set())

        # Nothing has changed: no session is asked for, and nothing is committed.
        version = project.version("sign")
        again = project.run("events", "models/sign", "predictions/sign")
        assert project.version("sign") == version
        assert data_versions(again, "events") == read
        assert data_versions(again, "predictions/sign") == {
            **data_versions(refused, "predictions/sign"),
            **data_versions(accepted, "predictions/sign"),
        }

        # Over these predictions: one task month by month, and one over all of them.
        project.spark = LazyPySparkResource(spark_config={})
        project.tasks[1:] = [replace(task, max_failed_share=1.0) for task in (AGAIN, TOTAL)]
        project.run("models/again", "predictions/again", "models/total", "predictions/total")
        assert project.rows("again") == project.rows("sign")
        assert project.rows("total") == project.rows("sign")
        assert project.version("again") == 0
