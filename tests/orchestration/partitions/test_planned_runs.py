"""Which runs refresh a graph of assets that are divided in different ways."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import pytest
from orchestration_fakes import a_task

from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.commands.run import run_all
from sparktorch_assets.orchestration.partitions.definition import partitions_definition
from sparktorch_assets.orchestration.partitions.runs import planned_runs
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import InputTable, Partitions, TimePartitions

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2013-01-01", end_date="2013-04-01")
DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2013-01-03")
PLACES = dg.DynamicPartitionsDefinition(name="events.place")
QUARTER, TWO_DAYS = ("2013-01-01", "2013-03-01"), ("2013-01-01", "2013-01-02")


def an_asset(
    name: str, deps: Iterable[str] = (), divided: dg.PartitionsDefinition[Any] | None = None, *, fails: bool = False
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=name,
        specs=[dg.AssetSpec(name, deps=list(deps), partitions_def=divided)],
        backfill_policy=dg.BackfillPolicy.single_run() if divided else None,
    )
    def made(context: dg.AssetExecutionContext) -> Any:
        if fails:
            raise ValueError("no")
        if name == "registers":
            context.instance.add_dynamic_partitions("events.place", ["EWR", "JFK"])
        return dg.MaterializeResult()

    return made


def runs(assets: Iterable[dg.AssetsDefinition], *, one_by_one: bool = True) -> list[tuple[set[str], Any]]:
    with dg.DagsterInstance.ephemeral() as instance:
        graph = dg.Definitions(assets=list(assets)).resolve_asset_graph()
        found = planned_runs(instance, graph, set(graph.get_all_asset_keys()), one_by_one=one_by_one)
        return [({key.to_user_string() for key in run.assets}, tuple(run.tags.values())) for run in found]


def test_assets_that_are_divided_alike_or_not_at_all_need_one_run():
    assets = [
        an_asset("files"),
        an_asset("events", ["files"], MONTHS),
        an_asset("model"),
        an_asset("scored", ["events", "model"], MONTHS),
        an_asset("report", ["scored"]),
    ]
    assert runs(assets) == [({"files", "events", "model", "scored", "report"}, QUARTER)]


def test_each_way_of_dividing_needs_a_run_after_what_it_depends_on():
    assets = [
        an_asset("monthly", (), MONTHS),
        an_asset("daily", ["monthly"], DAYS),
        an_asset("total", ["daily"]),
        an_asset("other", (), MONTHS),
        an_asset("again", ["daily"], MONTHS),
    ]
    assert runs(assets) == [
        ({"monthly", "other"}, QUARTER),
        ({"daily", "total"}, TWO_DAYS),
        ({"again"}, QUARTER),
    ]


def test_without_partitions_no_run_names_any():
    assert runs([an_asset("a"), an_asset("b", ["a"])]) == [({"a", "b"}, ())]


def test_partitions_that_do_not_exist_yet_are_left_out():
    late = dg.DailyPartitionsDefinition(start_date="2099-01-01")
    assert runs([an_asset("a"), an_asset("b", ["a"], late)]) == [({"a"}, ())]


@pytest.mark.promise("O70")
def test_partitions_that_a_run_registers_are_those_of_the_next_run():
    """The chained asset goes with the one that it depends on."""
    assets = [
        an_asset("registers"),
        an_asset("model"),
        an_asset("scored", ["registers", "model"], PLACES),
        an_asset("other_model"),
        an_asset("chained", ["scored", "other_model"], PLACES),
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        results = list(run_all(dg.Definitions(assets=assets, executor=dg.in_process_executor), instance))
    made = [
        sorted({str(e.asset_key.path[0]) for e in r.get_asset_materialization_events() if e.asset_key}) for r in results
    ]
    assert made == [["model", "other_model", "registers"], ["chained", "scored"]]
    assert {e.partition for e in results[1].get_asset_materialization_events()} == {"EWR", "JFK"}


def test_what_depends_on_a_failed_asset_of_an_earlier_run_is_not_run():
    assets = [
        an_asset("monthly", (), MONTHS, fails=True),
        an_asset("daily", ["monthly"], DAYS),
        an_asset("own", (), DAYS),
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        results = list(run_all(dg.Definitions(assets=assets, executor=dg.in_process_executor), instance))
    assert [r.success for r in results] == [False, True]
    assert {str(e.asset_key.path[0]) for e in results[1].get_asset_materialization_events() if e.asset_key} == {"own"}


def divided(by: Partitions) -> dg.Definitions:
    table = InputTable(name="events", source="a", format="csv", columns={"a": "int", "at": "date"}, partitions=by)
    return dg.Definitions.merge(
        dg.Definitions(assets=[build_input_asset(table)]),
        build_prediction_definitions([a_task(partitions=by), a_task(name="own", partitions=by, cron="0 5 * * *")]),
        runtime_definitions("."),
    )


def requests(definitions: dg.Definitions, schedule: str) -> list[tuple[set[str], Mapping[str, str]]]:
    repository = definitions.get_repository_def()
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance, repository_def=repository, scheduled_execution_time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        ) as context,
    ):
        found = repository.get_schedule_def(schedule).evaluate_tick(context).run_requests or []
    return [({key.to_user_string() for key in request.asset_selection or ()}, request.tags) for request in found]


@pytest.mark.promise("O71")
@pytest.mark.parametrize(("schedule", "task"), [("daily_predictions", "sample"), ("refresh_own", "own")])
def test_a_schedule_refreshes_all_partitions_in_one_run(schedule: str, task: str):
    by = TimePartitions(by="month", column="at", start="2013-01-01", end="2014-01-01")
    ((assets, tags),) = requests(divided(by), schedule)
    assert assets == {"events", f"models/{task}", f"predictions/{task}"}
    assert tags["dagster/asset_partition_range_start"] == "2013-01-01"
    assert tags["dagster/asset_partition_range_end"] == "2013-12-01"


def test_a_schedule_takes_assets_that_are_divided_differently_in_runs_of_their_own():
    by = TimePartitions(by="month", column="at", start="2013-01-01", end="2014-01-01")
    tags = {"sparktorch/refresh": "daily"}
    daily = dg.asset(name="daily", partitions_def=DAYS, tags=tags)(lambda: None)
    found = requests(dg.Definitions.merge(divided(by), dg.Definitions(assets=[daily])), "daily_predictions")
    assert [(assets, tags["dagster/asset_partition_range_end"]) for assets, tags in found] == [
        ({"daily", "models/sample"}, "2013-01-02"),
        ({"events", "predictions/sample"}, "2013-12-01"),
    ]


def test_partitions_without_an_end_grow_with_the_clock():
    by = TimePartitions(by="month", column="at", start="2013-01-01")
    keys = partitions_definition(by).get_partition_keys(current_time=dt.datetime(2013, 3, 1, 0, 1, tzinfo=dt.UTC))
    assert list(keys) == ["2013-01-01", "2013-02-01"]
