"""Whether partitions fit is known before any run: those of the input, the column that divides, and who registers values."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from orchestration_fakes import a_task
from pydantic import ValidationError

from sparktorch_assets import check_definitions
from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.components.declared import InputTableComponent
from sparktorch_assets.orchestration.partitions.definition import partitions_definition
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import DynamicPartitions, InputTable, MlTask, Partitions, StaticPartitions, TimePartitions

COLUMNS = {"event_id": "long", "a": "double", "b": "int", "at": "timestamp", "place": "string"}
PLACE, BY_PLACE = DynamicPartitions(column="place"), StaticPartitions(column="place", values=["EWR", "JFK"])


def months(**changes: Any) -> TimePartitions:
    fields: dict[str, Any] = {"by": "month", "column": "at", "start": "2013-01-01", "end": "2014-01-01"}
    return TimePartitions(**{**fields, **changes})


def check(project: Path, divided: Partitions | None, *tasks: MlTask, **columns: str) -> dg.Definitions:
    table = InputTable(name="events", source="a", format="csv", columns=COLUMNS | columns, partitions=divided)
    return check_definitions(
        dg.Definitions.merge(
            dg.Definitions(assets=[build_input_asset(table)]),
            build_prediction_definitions(tasks),
            runtime_definitions(project),
        )
    )


@pytest.mark.promise("O74")
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (None, None),
        (None, months()),
        (months(), None),
        (months(), months()),
        (months(), months(by="day", start="2013-02-05", end="2013-03-01")),
        (months(end=None), months()),
        (BY_PLACE, StaticPartitions(column="place", values=["JFK"])),
        (PLACE, PLACE),
        (PLACE, months()),
        (PLACE, None),
    ],
)
def test_what_dagster_can_map_is_accepted_and_loads(project: Path, theirs: Partitions | None, ours: Partitions | None):
    definitions = check(project, theirs, a_task(partitions=ours))
    dg.Definitions.validate_loadable(definitions)


@pytest.mark.promise("O74")
@pytest.mark.parametrize(
    ("theirs", "ours", "problem"),
    [
        (
            months(),
            BY_PLACE,
            "these are by: month, and the task's by: static, so that nothing tells.*leave partitions out",
        ),
        (months(), months(timezone="Asia/Tokyo"), "these begin in time zone 'UTC', and the task's in 'Asia/Tokyo'"),
        (months(), months(start="2012-12-01"), "the task begins at 2012-12-01, before its input at 2013-01-01"),
        (months(), months(end=None), "the input ends at 2014-01-01, and the task never; set end"),
        (BY_PLACE, StaticPartitions(column="place", values=["LGA"]), "the input has no partition 'LGA'"),
        (BY_PLACE, StaticPartitions(column="b", values=[1]), "the input has no partition|values of column 'place'"),
    ],
)
def test_what_it_cannot_map_is_refused_with_the_reason(
    project: Path, theirs: Partitions, ours: Partitions, problem: str
):
    with pytest.raises(
        TaskError, match=f"MlTask 'sample': partitions do not fit those of its input 'events': .*{problem}"
    ):
        check(project, theirs, a_task(partitions=ours))


@pytest.mark.parametrize("theirs", [None, DynamicPartitions(column="b"), BY_PLACE])
def test_values_that_no_asset_registers_are_refused(project: Path, theirs: Partitions | None):
    with pytest.raises(
        TaskError, match=r"no asset registers its values.*declare partitions: \{by: dynamic, column: place\}"
    ):
        check(project, theirs, a_task(partitions=PLACE))


def test_a_chained_task_names_the_table_that_registers(project: Path):
    first = a_task(partitions=PLACE, keep_columns=["event_id", "a", "b"])
    named = DynamicPartitions(column="place", registered_by="events")
    chained = a_task(name="second", input="predictions/sample", output_prefix="its_", partitions=named, keep_columns=[])
    definitions = check(project, PLACE, first, chained)
    graph = definitions.resolve_asset_graph()
    divided = [graph.get(dg.AssetKey(["predictions", name])).partitions_def for name in ("sample", "second")]
    assert divided[0] == divided[1] == dg.DynamicPartitionsDefinition(name="events.place")
    with pytest.raises(TaskError, match="'predictions/sample' is none; name it: registered_by"):
        partitions_definition(PLACE, "predictions/sample")


@pytest.mark.promise("O74")
def test_a_column_that_cannot_divide_is_found_before_any_run(project: Path):
    with pytest.raises(InputSchemaError, match="InputTable 'events': partitions by month: column 'at' has type string"):
        check(project, months(), at="string")
    with pytest.raises(
        InputSchemaError, match="task 'sample' on input 'events': partitions need column 'et'; did you|Known"
    ):
        check(project, None, a_task(partitions=months(column="et")))


def test_a_chained_task_sees_the_column_that_was_added(project: Path):
    """It needs neither the column of times nor to say so."""
    first = a_task(partitions=months(), keep_columns=["event_id", "a", "b"])
    chained = a_task(
        name="second", input="predictions/sample", output_prefix="its_", partitions=months(), keep_columns=["at_month"]
    )
    check(project, months(), first, chained)
    days = months(by="day")
    with pytest.raises(InputSchemaError, match="partitions need column 'at'"):
        check(project, months(), first, a_task(name="second", input="predictions/sample", output_prefix="its_", partitions=days, keep_columns=[]))  # fmt: skip


def test_an_added_column_that_would_have_anothers_name_is_refused(project: Path):
    named = a_task(partitions=months(), keep_columns=["event_id", "At_Month"])
    with pytest.raises(
        InputSchemaError, match="partitioned by a column 'at_month', which would have the name of another"
    ):
        check(project, months(), named, At_Month="string")


@pytest.mark.promise("O75")
def test_two_ways_of_dividing_are_refused_in_yaml_too():
    model = InputTableComponent.get_model_cls()
    assert model is not None
    by = [{"by": "month", "column": "at", "start": "2013-01-01"}, {"by": "dynamic", "column": "place"}]
    given = {"source": ["a"], "format": "csv", "columns": COLUMNS, "partitions": by}
    with pytest.raises(ValidationError, match="partitions divides the table in several ways at once"):
        model.model_validate(given)
