"""Pools: what a limit keeps apart, and that nothing waits where there is none."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg
import pytest
from orchestration_fakes import a_task

from sparktorch_assets.orchestration import prediction_asset
from sparktorch_assets.orchestration.factory import build_input_asset, build_prediction_assets
from sparktorch_assets.tasks import InputTable


class Meeting:
    """Takes the place of an asset's work, and notes how many are at it at once."""

    def __init__(self, expected: int) -> None:
        self.at_work = self.most = 0
        self._lock = threading.Lock()
        self._all = threading.Event()
        self._expected = expected

    def __call__(self, *_args: Any, **_given: Any) -> Any:
        with self._lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            if self.at_work == self._expected:
                self._all.set()
        self._all.wait(2)
        with self._lock:
            self.at_work -= 1
        raise dg.Failure("that will do", allow_retries=False)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def input_table(name: str) -> dg.AssetsDefinition:
    return build_input_asset(InputTable(name=name, source=["data/*.csv"], format="csv", columns={"a": "long"}))


def prediction(name: str) -> dg.AssetsDefinition:
    return build_prediction_assets([a_task(name=name)])[1]


def runs_at_once(
    assets: list[dg.AssetsDefinition],
    instance: dg.DagsterInstance,
    resources: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> int:
    """How many of these are at work at once when each is materialized by a run of its own."""
    meeting = Meeting(len(assets))
    monkeypatch.setattr("sparktorch_assets.spark.input_tables.materialize_input", meeting)
    monkeypatch.setattr(prediction_asset, "_score", meeting)

    def run(asset: dg.AssetsDefinition) -> None:
        dg.materialize([asset], resources=resources, instance=instance, raise_on_error=False)

    with ThreadPoolExecutor(len(assets)) as pool:
        list(pool.map(run, assets))
    return meeting.most


@pytest.mark.parametrize("make", [lambda: input_table("events"), lambda: prediction("sample")])
def test_without_a_limit_nothing_waits(
    make: Any, instance: dg.DagsterInstance, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    assert runs_at_once([make(), make()], instance, resources, monkeypatch) == 2


def test_a_limit_of_an_inputs_pool_is_that_inputs(
    instance: dg.DagsterInstance, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    instance.event_log_storage.set_concurrency_slots("input_events", 1)
    same, others = [input_table("events")] * 2, [input_table("events"), input_table("numbers")]
    assert runs_at_once(same, instance, resources, monkeypatch) == 1
    assert runs_at_once(others, instance, resources, monkeypatch) == 2


def test_a_limit_of_the_predictions_pool_is_for_all_of_them(
    instance: dg.DagsterInstance, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """As on one GPU."""
    instance.event_log_storage.set_concurrency_slots("predictions", 1)
    assert runs_at_once([prediction("one"), prediction("two")], instance, resources, monkeypatch) == 1
    assert runs_at_once([prediction("one"), input_table("events")], instance, resources, monkeypatch) == 2
