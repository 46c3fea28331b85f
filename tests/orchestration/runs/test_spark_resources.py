"""Any resource with a `spark_session` serves under the key `spark`, whatever its class."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster_pyspark import LazyPySparkResource, PySparkResource, pyspark_resource
from orchestration_fakes import FakeScoreTable, a_task

from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.resources import SparkSessionResource

SESSION = object()


@dg.resource
def legacy(context: dg.InitResourceContext) -> Any:
    return SimpleNamespace(spark_session=SESSION)


@pytest.mark.parametrize(
    "resource",
    [
        PySparkResource(spark_config={}),
        LazyPySparkResource(spark_config={}),
        SparkSessionResource(),
        pyspark_resource.configured({"spark_conf": {}}),
        legacy,
        SimpleNamespace(spark_session=SESSION),
    ],
    ids=["eager", "lazy", "own", "legacy_pyspark", "legacy", "object"],
)
def test_the_session_is_that_of_the_resource(
    resource: Any, resources: dict[str, Any], score: FakeScoreTable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dagster_pyspark.resources.spark_session_from_config", lambda _=None: SESSION)
    monkeypatch.setattr("sparktorch_assets.spark.session.start.start_session", lambda **_: SESSION)
    asset = build_prediction_asset(a_task())
    assert dg.materialize([asset], resources=resources | {"spark": resource}).success
    assert score.calls[0]["spark_session"]() is SESSION


def test_a_missing_resource_is_named_when_the_location_loads(resources: dict[str, Any]):
    del resources["lake"]
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="lake"):
        dg.Definitions.validate_loadable(dg.Definitions([build_prediction_asset(a_task())], resources=resources))


def test_parameters_are_the_resources(resources: dict[str, Any], project: Path):
    assert build_prediction_asset(a_task()).required_resource_keys >= {"spark", "model_loader", "lake"}
