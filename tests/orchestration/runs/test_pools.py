"""Pools: what a limit keeps apart, and that nothing waits where there is none."""

import threading
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from orchestration_fakes import a_task

from sparktorch_assets.orchestration.assets import prediction as prediction_asset
from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_assets
from sparktorch_assets.tasks import InputTable

EVENTS, NUMBERS = (
    build_input_asset(InputTable(name=name, source=["data/*.csv"], format="csv", columns={"a": "long"}))
    for name in ("events", "numbers")
)
ONE, TWO = (build_prediction_assets([a_task(name=name)])[1] for name in ("one", "two"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def waits(
    asset: dg.AssetsDefinition,
    pool: str,
    instance: dg.DagsterInstance,
    resources: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> bool:
    """Whether a run of the asset waits while another run holds the pool's only slot. Two runs in threads of one process would
    tell as well, but Dagster sets up logging for each, which locks them both up."""
    began = threading.Event()

    def work(*_args: Any, **_given: Any) -> Any:
        began.set()
        raise dg.Failure("that will do", allow_retries=False)

    def leave() -> None:
        began_meanwhile.append(began.wait(4))
        instance.event_log_storage.free_concurrency_slots_for_run("another run")

    began_meanwhile: list[bool] = []
    monkeypatch.setattr("sparktorch_assets.spark.inputs.materialize.materialize_input", work)
    monkeypatch.setattr(prediction_asset, "_score", work)
    if pool:
        instance.event_log_storage.set_concurrency_slots(pool, 1)
        assert instance.event_log_storage.claim_concurrency_slot(pool, "another run", "step").is_claimed
    leaving = threading.Thread(target=leave)
    leaving.start()
    dg.materialize([asset], resources=resources, instance=instance, raise_on_error=False)
    leaving.join()
    assert began.is_set()
    return not began_meanwhile[0]


@pytest.mark.parametrize("asset", [EVENTS, ONE], ids=["input", "prediction"])
def test_without_a_limit_nothing_waits(
    asset: dg.AssetsDefinition,
    instance: dg.DagsterInstance,
    resources: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    assert not waits(asset, "", instance, resources, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("asset", "expected"), [(EVENTS, True), (NUMBERS, False), (ONE, False)])
def test_an_inputs_pool_is_that_inputs(
    asset: dg.AssetsDefinition,
    expected: bool,
    instance: dg.DagsterInstance,
    resources: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    assert waits(asset, "input_events", instance, resources, monkeypatch) == expected


@pytest.mark.slow
@pytest.mark.promise("O116")
@pytest.mark.parametrize(("asset", "expected"), [(ONE, True), (TWO, True), (EVENTS, False)])
def test_the_predictions_pool_is_for_all_of_them(
    asset: dg.AssetsDefinition,
    expected: bool,
    instance: dg.DagsterInstance,
    resources: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    """As on one GPU."""
    assert waits(asset, "predictions", instance, resources, monkeypatch) == expected
