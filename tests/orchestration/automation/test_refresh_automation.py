"""Automation asks for a refresh if and only if predictions were made from something else than is there now."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from automation_world import E, M, P, World

from sparktorch_assets.orchestration.automation.schedules import (
    AUTOMATION_SENSOR,
    automation_sensor,
    staleness_condition,
)
from sparktorch_assets.orchestration.automation.staleness import WAITS
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.orchestration.watching.file_sensor import FILE_SENSOR

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # Dagster's own evaluate_automation_conditions

ONCE = [True, False, False]
NEVER = [False, False, False]


@pytest.fixture
def world() -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(instance)


@pytest.fixture
def fresh(world: World) -> World:
    """E, M and P are there, and P is of them."""
    world.read("1")
    world.train("1")
    world.predict()
    assert world.ticks() == NEVER
    return world


@pytest.mark.promise("O8")
@pytest.mark.parametrize("upstream", ["read", "train"])
def test_the_same_data_version_materialized_again_asks_for_nothing(upstream: str, fresh: World):
    getattr(fresh, upstream)("1")
    assert fresh.ticks() == NEVER


@pytest.mark.promise("O8")
@pytest.mark.parametrize("upstream", ["read", "train"])
def test_a_new_data_version_asks_once(upstream: str, fresh: World):
    getattr(fresh, upstream)("2")
    assert fresh.ticks() == ONCE
    fresh.predict()
    assert fresh.ticks() == NEVER


@pytest.mark.promise("O8")
def test_a_new_code_version_asks_once(fresh: World):
    fresh.code = "2"
    assert fresh.ticks() == ONCE
    fresh.predict()
    assert fresh.ticks() == NEVER


@pytest.mark.promise("O8")
def test_what_was_there_before_is_no_change(fresh: World):
    fresh.read("2")
    fresh.read("1")
    assert fresh.ticks() == NEVER


@pytest.mark.promise("O9")
def test_a_change_during_the_run_is_asked_for_after_it(fresh: World):
    fresh.read("2")
    assert fresh.tick()
    seen: list[bool] = []
    fresh.predict(meanwhile=lambda: (fresh.read("3"), seen.extend(fresh.ticks())))
    assert seen == NEVER, "P itself is in progress"
    assert fresh.ticks() == ONCE


@pytest.mark.promise("O9")
def test_a_refresh_and_a_change_between_two_ticks_are_both_seen(fresh: World):
    fresh.predict()
    fresh.read("2")
    assert fresh.ticks() == ONCE


@pytest.mark.promise("O9")
def test_changes_before_the_first_tick_are_seen(world: World):
    world.read("1")
    world.train("1")
    world.predict()
    world.code = "2"
    assert world.ticks() == ONCE


@pytest.mark.promise("O9")
def test_predictions_that_were_never_made_or_are_forgotten_are_asked_for(world: World):
    world.read("1")
    world.train("1")
    assert world.ticks() == ONCE
    world.predict()
    assert world.ticks() == NEVER
    world.wipe()
    assert world.ticks() == ONCE


@pytest.mark.promise("O12")
@pytest.mark.parametrize("outcome", ["fail", "cancel"])
@pytest.mark.parametrize("change", ["data", "code"])
def test_a_refresh_that_ends_without_predictions_is_asked_for_again_later_each_time(
    outcome: str, change: str, fresh: World
):
    if change == "data":
        fresh.read("2")
    else:
        fresh.code = "2"
    for wait in WAITS:
        assert not any(fresh.ticks()) or not wait, "sooner"
        assert fresh.tick(wait) or not wait, "later"
        fresh.predict(outcome)
    assert not any(fresh.tick(dt.timedelta(days=1)) for _ in range(3)), "for ever"


@pytest.mark.promise("O13")
def test_a_new_change_counts_attempts_anew(fresh: World):
    fresh.read("2")
    for _ in WAITS:
        assert fresh.tick(WAITS[-1])
        fresh.predict("fail")
    assert not fresh.tick(WAITS[-1])
    fresh.read("3")
    assert fresh.ticks() == ONCE
    fresh.predict("fail")
    assert fresh.tick(WAITS[1])


@pytest.mark.promise("O11")
def test_a_failed_blocking_check_upstream_holds_predictions_back(fresh: World):
    fresh.read("2", passes=False)
    assert fresh.ticks() == NEVER
    fresh.read("2", passes=True)
    assert fresh.ticks() == ONCE


@pytest.mark.promise("O11")
def test_an_upstream_run_that_failed_has_passed_no_check(fresh: World):
    """The input is as it was, and yet new code waits for it."""
    fresh.read("1", outcome="fail")
    fresh.code = "2"
    assert fresh.ticks() == NEVER
    fresh.read("1")
    assert fresh.ticks() == ONCE


@pytest.mark.promise("O10")
@pytest.mark.parametrize("checked", [True, False])
def test_new_code_waits_for_an_upstream_that_is_in_progress_and_takes_its_result(checked: bool, world: World):
    """Without a check as well, which would not have passed yet."""
    world.checked = checked
    world.read("1")
    world.train("1")
    world.predict()
    world.code = "2"
    seen: list[bool] = []
    world.read("2", meanwhile=lambda: seen.extend(world.ticks()))
    assert seen == NEVER
    assert world.ticks() == ONCE
    world.predict()
    assert world.ticks() == NEVER


@pytest.mark.promise("O10")
def test_dagster_forgets_a_run_in_progress_when_its_asset_is_wiped(fresh: World):
    """A limit of Dagster's own condition, and of ours with it: delete the sentence in the docs when this fails."""
    seen: list[bool] = []
    fresh.predict(meanwhile=lambda: (fresh.wipe(), seen.append(fresh.tick())))
    assert seen == [True]


@pytest.mark.promise("O10")
def test_nothing_is_asked_for_while_an_upstream_is_missing(world: World):
    assert world.ticks() == NEVER
    world.read("1")
    world.code = "2"
    assert world.ticks() == NEVER
    world.train("1")
    assert world.ticks() == ONCE


def requests(*assets: Any, instance: dg.DagsterInstance, ticks: int = 3) -> list[set[str]]:
    """What several ticks request; a request is carried out before the next tick."""
    definitions = dg.Definitions(assets=assets)
    found, cursor = [], None
    for _ in range(ticks):
        result = dg.evaluate_automation_conditions(definitions, instance=instance, cursor=cursor)
        cursor = result.cursor
        keys = [subset.key for subset in result._requested_subsets]
        found.append({key.to_user_string() for key in keys})
        if keys:
            job = definitions.resolve_implicit_global_asset_job_def()
            assert job.execute_in_process(instance=instance, asset_selection=keys).success
    return found


def derived(name: str, *deps: Any, **given: Any) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=deps, automation_condition=staleness_condition(), **given)
    def made() -> None: ...

    return made


@pytest.mark.promise("O15")
def test_a_chain_is_refreshed_link_by_link():
    """Predictions of predictions, and an asset of the user's at the end without a code version of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(E, tags={"dagster/data_version": "1"}))
        first = derived("first", E, code_version="1")
        second = derived("second", first, code_version="1")
        last = derived("last", second, first)
        chain = [dg.asset(key=E)(lambda: None), first, second, last]
        assert requests(*chain, instance=instance, ticks=5) == [{"first"}, {"second"}, {"last"}, set(), set()]


@pytest.mark.promise("O15")
def test_links_that_are_stale_at_the_same_tick_are_refreshed_in_one_run():
    """In two runs the second could start from what the first is about to replace."""
    definitions = dg.Definitions(sensors=[automation_sensor(running=True)])
    with dg.DagsterInstance.ephemeral() as instance:
        for code in "12":
            first = derived("first", dg.AssetSpec(E), code_version=code)
            second = derived("second", first, code_version=code)
            merged = dg.Definitions.merge(definitions, dg.Definitions(assets=[first, second]))
            if code == "1":
                assert merged.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
        repository = merged.get_repository_def()
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        (request,) = repository.get_sensor_def(AUTOMATION_SENSOR).evaluate_tick(context).run_requests or []
        assert {key.to_user_string() for key in request.asset_selection or []} == {"first", "second"}


@pytest.mark.promise("O16")
def test_an_external_upstream_counts_by_what_is_reported_of_it_and_need_not_be_known():
    """A version where one is told, each report where none is; one that nobody tells anything of is taken to be there."""
    reports: list[tuple[Any, set[str]]] = [
        (None, {"p"}),
        (dg.AssetObservation(E, tags={"dagster/data_version": "1"}), {"p"}),
        (dg.AssetObservation(E, tags={"dagster/data_version": "1"}), set()),
        (dg.AssetMaterialization(E, tags={"dagster/data_version": "2"}), {"p"}),
        (dg.AssetMaterialization(E, tags={"dagster/data_version": "2"}), set()),
        (dg.AssetMaterialization(E), {"p"}),
        (dg.AssetMaterialization(E), {"p"}),
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        for report, expected in reports:
            if report:
                instance.report_runless_asset_event(report)
            assert requests(dg.AssetSpec(E), derived("p", E), instance=instance) == [expected, set(), set()], report


@pytest.mark.promise("O17")
def test_an_upstream_with_partitions_counts_by_its_materializations():
    days = dg.StaticPartitionsDefinition(["mon", "tue"])
    upstream = dg.asset(key=E, partitions_def=days)(lambda: None)
    with dg.DagsterInstance.ephemeral() as instance:
        assert requests(upstream, derived("p", E), instance=instance) == [set()] * 3
        for day in ("mon", "tue", "mon"):
            assert dg.materialize([upstream], instance=instance, partition_key=day).success
            assert requests(upstream, derived("p", E), instance=instance) == [{"p"}, set(), set()]


@pytest.mark.promise("O8")
def test_an_asset_that_depends_on_nothing_is_made_once():
    with dg.DagsterInstance.ephemeral() as instance:
        assert requests(derived("p"), instance=instance) == [{"p"}, set(), set()]


@pytest.mark.promise("O8")
def test_a_dependency_that_is_gone_was_computed_from():
    with dg.DagsterInstance.ephemeral() as instance:
        both = [dg.AssetSpec(E), dg.AssetSpec(M)]
        assert requests(*both, derived("p", E, M, code_version="1"), instance=instance) == [{"p"}, set(), set()]
        assert requests(*both, derived("p", E, code_version="1"), instance=instance) == [{"p"}, set(), set()]


@pytest.mark.promise("O6", "O7")
@pytest.mark.parametrize("automation", [True, False])
def test_the_sensor_comes_with_the_runtime_and_is_on_where_that_was_asked_for(automation: bool, fresh: World):
    """It takes the place of Dagster's default sensor, which cannot evaluate the condition, for every asset."""
    eager = dg.asset(name="eager", automation_condition=dg.AutomationCondition.eager())(lambda: None)
    definitions = dg.Definitions.merge(
        fresh.location, dg.Definitions(assets=[eager]), runtime_definitions(".", automation=automation)
    )
    sensors = {sensor.name: sensor for sensor in definitions.get_repository_def().sensor_defs}
    assert sensors.keys() == {AUTOMATION_SENSOR, FILE_SENSOR}
    sensor = sensors[AUTOMATION_SENSOR]
    assert sensor.default_status == (dg.DefaultSensorStatus.RUNNING if automation else dg.DefaultSensorStatus.STOPPED)


@pytest.mark.promise("O6")
def test_a_tick_of_the_sensor_asks_for_a_run_of_the_stale_asset(fresh: World):
    fresh.read("2")
    repository = dg.Definitions.merge(fresh.location, runtime_definitions(".")).get_repository_def()
    sensor = repository.get_sensor_def(AUTOMATION_SENSOR)
    cursor, found = None, []
    for _ in range(2):
        context = dg.build_sensor_context(instance=fresh.instance, repository_def=repository, cursor=cursor)
        tick = sensor.evaluate_tick(context)
        cursor = tick.cursor
        found.append([list(request.asset_selection or []) for request in tick.run_requests or []])
    assert found == [[[P]], []]


def test_the_sensor_warns_of_nothing(recwarn: pytest.WarningsRecorder):
    automation_sensor(running=True)
    assert not recwarn.list


def test_the_ui_shows_each_part_of_the_condition_by_a_name_of_its_own():
    snapshot = staleness_condition().get_snapshot()
    parts = [child.node_snapshot for child in snapshot.children]
    assert snapshot.node_snapshot.label == "stale_and_ready"
    assert [part.label or part.name for part in parts] == [
        "not_in_progress",
        "no_deps_in_progress",
        "all_deps_blocking_checks_passed",
        "stale",
        "attempt_due",
    ]
    assert parts[-2].description == "Made from versions of code or upstream data other than the current ones"
