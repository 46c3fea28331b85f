"""Automation asks for a partition if and only if it was made from something else than is there now."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from automation_world import E, P
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from partitioned_world import MONTHS, ONE_RUN, RANGE, PartitionedWorld

from sparktorch_assets.orchestration.automation.partition_versions import record_made_from
from sparktorch_assets.orchestration.automation.schedules import (
    AUTOMATION_SENSOR,
    automation_sensor,
    staleness_condition,
)
from sparktorch_assets.orchestration.automation.staleness import WAITS

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # Dagster's own evaluate_automation_conditions

ALL = {"jan", "feb", "mar"}
NONE: set[str | None] = set()
NEVER = [NONE, NONE]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def fresh(instance: dg.DagsterInstance) -> PartitionedWorld:
    """All partitions of E, M, and all partitions of P made from them, each in one run."""
    world = PartitionedWorld(instance)
    world.read(dict.fromkeys(("jan", "feb", "mar"), "1"))
    world.train("1")
    world.predict("jan", "mar")
    assert world.asked_twice() == NEVER
    return world


@pytest.mark.promise("O53")
def test_partitions_materialized_again_with_the_same_versions_ask_for_nothing(fresh: PartitionedWorld):
    """Whether all in one run, whose data version is another one, or one alone."""
    fresh.read({"feb": "1"})
    assert fresh.asked_twice() == NEVER
    fresh.read({"jan": "1", "feb": "1"})
    fresh.train("1")
    assert fresh.asked_twice() == NEVER


@pytest.mark.promise("O53")
def test_a_new_version_of_a_partition_asks_for_what_is_made_from_it(fresh: PartitionedWorld):
    fresh.read({"jan": "1", "feb": "2", "mar": "1"})
    assert fresh.asked_twice() == [{"feb"}, NONE]
    fresh.predict("feb")
    assert fresh.asked_twice() == NEVER


@pytest.mark.promise("O53")
@pytest.mark.parametrize("change", ["code", "model"])
def test_new_code_and_new_weights_ask_for_all_partitions_until_each_is_made(change: str, fresh: PartitionedWorld):
    """Dagster itself shows a partitioned asset as fresh after a change of its code: its issues 22704 and 22553."""
    if change == "code":
        fresh.code = "2"
    else:
        fresh.train("2")
    assert fresh.asked_twice() == [ALL, NONE]
    fresh.predict("jan", "feb")
    assert fresh.asked(WAITS[1]) == {"mar"}
    fresh.predict("mar")
    assert fresh.asked_twice() == NEVER


@pytest.mark.promise("O54")
def test_a_change_during_the_run_is_asked_for_after_it(fresh: PartitionedWorld):
    fresh.read({"feb": "2"})
    assert fresh.asked() == {"feb"}
    seen: list[Any] = []
    fresh.predict("feb", meanwhile=lambda: (fresh.read({"feb": "3"}), seen.append(fresh.asked())))
    assert seen == [NONE], "feb itself is in progress"
    assert fresh.asked_twice() == [{"feb"}, NONE]


@pytest.mark.promise("O54")
def test_what_is_in_progress_holds_back_no_other_partition(fresh: PartitionedWorld):
    fresh.read({"jan": "2", "feb": "2"})
    seen: list[Any] = []
    fresh.predict("jan", meanwhile=lambda: seen.append(fresh.asked()))
    assert seen == [{"feb"}]


@pytest.mark.promise("O55")
def test_a_partition_is_asked_for_as_soon_as_what_it_is_made_from_exists(instance: dg.DagsterInstance):
    world = PartitionedWorld(instance, partitions=dg.DynamicPartitionsDefinition(name="region"))
    world.train("1")
    instance.add_dynamic_partitions("region", ["north"])
    assert world.asked() == NONE
    world.read({"north": "1"})
    assert world.asked_twice() == [{"north"}, NONE]
    world.predict("north")
    instance.add_dynamic_partitions("region", ["south"])
    assert world.asked_twice() == NEVER
    world.read({"south": "1"})
    assert world.asked_twice() == [{"south"}, NONE]


@pytest.mark.promise("O55")
def test_a_new_day_is_asked_for_and_a_month_waits_for_all_of_its_days(instance: dg.DagsterInstance):
    days = dg.DailyPartitionsDefinition(start_date="2030-01-01")
    months = dg.MonthlyPartitionsDefinition(start_date="2030-01-01")
    world = PartitionedWorld(instance, partitions=months, upstream=days)
    world.now = dt.datetime(2030, 2, 1, 1, tzinfo=dt.UTC)
    world.train("1")
    january = [f"2030-01-{day:02}" for day in range(1, 32)]
    with dg.partition_loading_context(effective_dt=world.now):
        world.read(dict.fromkeys(january[:-1], "1"))
        assert world.asked() == NONE
        world.read({january[-1]: "1"})
        assert world.asked_twice() == [{"2030-01-01"}, NONE]
        world.predict("2030-01-01")
        world.read(dict.fromkeys(january, "1"))
        assert world.asked_twice() == NEVER
        world.read({january[4]: "2"})
        assert world.asked_twice() == [{"2030-01-01"}, NONE]


@pytest.mark.promise("O56")
def test_each_partition_has_waits_of_its_own(fresh: PartitionedWorld):
    fresh.read({"jan": "2", "feb": "2"})
    assert fresh.asked() == {"jan", "feb"}
    fresh.predict("feb", outcome="fail")
    fresh.predict("jan")
    assert fresh.asked() == NONE
    fresh.read({"mar": "2"})
    assert fresh.asked(WAITS[1] - dt.timedelta(minutes=2)) == {"mar"}, "feb was tried less than five minutes ago"
    fresh.predict("mar")
    assert fresh.asked(dt.timedelta(minutes=2)) == {"feb"}
    for wait in WAITS[2:]:
        fresh.predict("feb", outcome="cancel")
        assert fresh.asked() == NONE
        assert fresh.asked(wait) == {"feb"}
    fresh.predict("feb", outcome="fail")
    assert fresh.asked(WAITS[-1] * 2) == NONE, "it was tried often enough"
    fresh.read({"feb": "3"})
    assert fresh.asked() == {"feb"}, "after the next change it is tried again"


@pytest.mark.promise("O56")
def test_the_tries_of_a_partition_are_counted_on_while_it_is_in_progress(fresh: PartitionedWorld):
    fresh.read({"feb": "2"})
    assert fresh.asked() == {"feb"}
    fresh.predict("feb", outcome="fail", meanwhile=fresh.asked)
    assert fresh.asked() == NONE, "it was tried less than five minutes ago"
    assert fresh.asked(WAITS[1]) == {"feb"}


@pytest.mark.promise("O56")
def test_what_is_remembered_between_ticks_is_nothing_while_all_is_well_and_small_otherwise(
    instance: dg.DagsterInstance,
):
    hours = dg.HourlyPartitionsDefinition(start_date="2030-01-01-00:00", end_date="2031-01-01-00:00")
    asset, made = derived("p", partitions_def=hours), derived("p")
    now = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)
    assert dg.materialize([made], instance=instance).success
    assert "states" not in dg.serialize_value(
        dg.evaluate_automation_conditions([made], instance=instance, evaluation_time=now).cursor
    )
    first = dg.evaluate_automation_conditions([asset], instance=instance, evaluation_time=now)
    assert first.total_requested == 8760
    assert len(dg.serialize_value(first.cursor)) < 500_000
    second = dg.evaluate_automation_conditions(
        [asset], instance=instance, cursor=first.cursor, evaluation_time=now + WAITS[1]
    )
    assert second.total_requested == 8760


@pytest.mark.promise("O11", "O59")
def test_a_failed_blocking_check_of_the_input_holds_all_partitions_back(fresh: PartitionedWorld):
    fresh.read({"feb": "2"}, passes=False)
    fresh.train("2")
    assert fresh.asked_twice() == NEVER
    fresh.read({"feb": "2"})
    assert fresh.asked_twice() == [ALL, NONE]


def derived(name: str, *deps: Any, **given: Any) -> dg.AssetsDefinition:
    @dg.multi_asset(
        specs=[dg.AssetSpec(name, deps=deps, automation_condition=staleness_condition(), code_version="1", **given)],
        name=name,
        backfill_policy=ONE_RUN if "partitions_def" in given else None,
    )
    def made(context: dg.AssetExecutionContext) -> Any:
        record_made_from(context)
        yield dg.MaterializeResult()

    return made


def asked_for(assets: list[Any], instance: dg.DagsterInstance, cursor: Any = None) -> set[str | None]:
    result = dg.evaluate_automation_conditions(dg.Definitions(assets=assets), instance=instance, cursor=cursor)
    return set(result.get_requested_partitions(dg.AssetKey("p")))


@pytest.mark.promise("O16", "O53")
def test_an_external_upstream_counts_by_what_is_reported_of_each_partition(instance: dg.DagsterInstance):
    """Dagster does not mark what depends on a partitioned external asset: its issue 26162."""
    upstream, p = dg.AssetSpec(E, partitions_def=MONTHS), derived("p", E, partitions_def=MONTHS)
    made = {"dagster/asset_partition_range_start": "jan", "dagster/asset_partition_range_end": "mar"}
    for kind in (dg.AssetObservation, dg.AssetMaterialization):
        for version, expected in (("1", {"feb"}), ("1", NONE), ("2", {"feb"})):
            if kind is dg.AssetObservation and version == "1" and expected:
                assert dg.materialize([p], instance=instance, tags=made).success
            instance.report_runless_asset_event(
                kind(E, partition="feb", tags={"dagster/data_version": version + kind.__name__})
            )
            assert asked_for([upstream, p], instance) == expected, (kind, version)
            assert dg.materialize([upstream, p], instance=instance, partition_key="feb", selection=["p"]).success


@pytest.mark.promise("O17")
def test_an_asset_without_partitions_that_records_what_it_is_made_from_compares_versions(
    instance: dg.DagsterInstance,
):
    world = PartitionedWorld(instance)
    p = derived("p", E)
    assets = [*(world.location.assets or ()), p]
    assert asked_for(assets, instance) == NONE, "no partition of E is there"
    for versions, expected in (
        ({"jan": "1"}, {None}),
        ({"jan": "1"}, NONE),
        ({"feb": "1"}, {None}),
        ({"jan": "1", "feb": "1"}, NONE),
        ({"jan": "2"}, {None}),
    ):
        world.read(versions)
        assert asked_for(assets, instance) == expected, versions
        job = dg.Definitions(assets=assets).resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("p")]).success


@pytest.mark.promise("O18")
def test_partitions_that_do_not_say_what_they_were_made_from_are_tried_and_told(
    fresh: PartitionedWorld, caplog: pytest.LogCaptureFixture
):
    fresh.records = False
    fresh.predict("feb")
    for wait in WAITS:
        caplog.clear()
        assert fresh.asked(wait) == {"feb"}
        assert "1 partitions do not say what they were made from" in caplog.text
        fresh.predict("feb")
    assert fresh.asked(WAITS[-1]) == NONE
    fresh.records = True
    fresh.predict("feb")
    caplog.clear()
    assert fresh.asked() == NONE
    assert "do not say" not in caplog.text


@pytest.mark.promise("O57")
@pytest.mark.parametrize(
    ("stale", "runs"),
    [
        (["feb"], [("feb", "feb")]),
        (["jan", "feb"], [("jan", "feb")]),
        (["jan", "mar"], [("jan", "jan"), ("mar", "mar")]),
    ],
)
def test_several_partitions_are_asked_for_as_one_backfill(
    stale: list[str], runs: list[tuple[str, str]], fresh: PartitionedWorld
):
    """Of which Dagster's backfill daemon makes a run of each range, with the function that is called here."""
    for part in stale:
        fresh.read({part: "2"})
    sensors = dg.Definitions(sensors=[automation_sensor(running=True)])
    repository = dg.Definitions.merge(fresh.location, sensors).get_repository_def()
    context = dg.build_sensor_context(instance=fresh.instance, repository_def=repository)
    (request,) = repository.get_sensor_def(AUTOMATION_SENSOR).evaluate_tick(context).run_requests or []
    if len(stale) == 1:
        assert (request.asset_selection, request.partition_key) == ([P], "feb")
        return
    assert request.requires_backfill_daemon()
    assert request.asset_graph_subset is not None
    parts = list(request.asset_graph_subset.iterate_asset_partitions())
    assert {(part.asset_key, part.partition_key) for part in parts} == {(P, part) for part in stale}
    made = build_run_requests_with_backfill_policies(parts, repository.asset_graph, fresh.instance)
    assert sorted((run.tags[RANGE[0]], run.tags[RANGE[1]]) for run in made) == runs


@pytest.mark.promise("O54")
def test_a_backfill_in_progress_is_not_asked_for_again(fresh: PartitionedWorld):
    from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
    from dagster._core.execution.backfill import PartitionBackfill

    fresh.read({"jan": "2", "feb": "2"})
    subset = AssetGraphSubset(partitions_subsets_by_asset_key={P: MONTHS.subset_with_partition_keys(["jan", "mar"])})
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id="backfill",
        backfill_timestamp=0.0,
        asset_graph_subset=subset,
        dynamic_partitions_store=fresh.instance,
        tags={},
        title=None,
        description=None,
        run_config=None,
    )
    fresh.instance.add_backfill(backfill)
    assert fresh.asked_twice() == [{"feb"}, NONE]


@pytest.mark.promise("O58")
def test_a_partition_says_by_name_what_it_was_made_from(fresh: PartitionedWorld):
    (event,) = fresh.instance.fetch_materializations(P, limit=1).records
    assert event.asset_materialization is not None
    record = event.asset_materialization.metadata["sparktorch/made_from"].value
    assert json.loads(json.dumps(record)) == {"dagster/code_version": "1", "events": "1", "models/sample": "1"}
