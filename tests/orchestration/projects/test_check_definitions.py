"""What can be known before a run: columns that no input has, misspelt inputs, and model files that are not there."""

import logging
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from orchestration_fakes import a_task
from page_blocks import blocks_run_by

from sparktorch_assets import check_definitions
from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.components.declared import MlTaskComponent
from sparktorch_assets.orchestration.resources import ModelLoaderResource
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import (
    AuditPolicy,
    ClassificationOutput,
    ColumnsOutput,
    EmbeddingOutput,
    Hooks,
    InputTable,
    MlTask,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
    RowFilter,
    SequenceFeature,
)
from sparktorch_assets.tasks.features import Feature
from sparktorch_assets.tasks.outputs import Output

EVENTS = {"event_id": "long", "a": "double", "b": "int"}


def location(
    project: Path, *tasks: MlTask, columns: dict[str, str] = EVENTS, more: Any = (), **runtime: Any
) -> dg.Definitions:
    table = InputTable(name="events", source="events.csv", format="csv", columns=columns)
    return dg.Definitions.merge(
        dg.Definitions(assets=[build_input_asset(table), *more]),
        build_prediction_definitions(tasks),
        runtime_definitions(project, **runtime),
    )


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING, "sparktorch_assets")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_location_that_fits_is_returned_as_it_is(project: Path, warnings: Any):
    chained = a_task(name="second", input="predictions/sample", keep_columns=[], output_prefix="its_", where=[
        RowFilter(column="predicted_class", op="==", value="yes")
    ], hooks=Hooks(row_preprocessor="json:loads"))  # fmt: skip
    definitions = location(project, a_task(), chained)
    assert check_definitions(definitions) is definitions
    assert warnings() == []


def test_the_line_of_the_page_returns_the_definitions(project: Path):
    (block,) = blocks_run_by(__file__)
    found: dict[str, Any] = {}
    exec(
        f"def load(dg, check_definitions, runtime_definitions, my_definitions, project_root):\n    {block.text}", found
    )
    task = build_prediction_definitions([a_task()])
    definitions = found["load"](dg, check_definitions, runtime_definitions, task, project)
    assert "spark" in definitions.resources


@pytest.mark.promise("O45")
@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        ({"keep_columns": ["evnt_id"]}, EVENTS, "keep_columns needs column 'evnt_id'; did you mean 'event_id'"),
        ({"where": [RowFilter(column="c", op="<", value=1)]}, EVENTS, "where needs column 'c'; Known: a, b, event_id"),
        (
            {"where": [RowFilter(column="a", op="<", value="x")]},
            EVENTS,
            "'a' has type double, which cannot be compared",
        ),
        ({}, {"event_id": "long", "a": "double"}, "features needs column 'b'"),
        ({}, EVENTS | {"b": "string"}, "numeric feature 'b' has type string"),
        ({}, EVENTS | {"confidence": "float"}, None),
        ({"keep_columns": None}, EVENTS | {"confidence": "float"}, "the input already has 'confidence'"),
    ],
)
def test_a_task_that_cannot_run_on_its_input_is_an_error(
    project: Path, change: dict[str, Any], columns: dict[str, str], message: str | None
):
    definitions = location(project, a_task(**change), columns=columns)
    if message is None:
        check_definitions(definitions)
    else:
        with pytest.raises(InputSchemaError, match=f"task 'sample' on input 'events': .*{message}"):
            check_definitions(definitions)


@pytest.mark.promise("O45")
def test_the_columns_of_another_tasks_predictions_are_known(project: Path):
    chained = a_task(name="second", input="predictions/sample", output_prefix="its_", keep_columns=["predicted_clas"])
    with pytest.raises(InputSchemaError, match="task 'second' .*'predicted_clas'; did you mean 'predicted_class'"):
        check_definitions(location(project, a_task(), chained))


@pytest.mark.promise("O45")
@pytest.mark.parametrize(
    ("output", "feature", "message"),
    [
        (RegressionOutput(names=["x"]), NumericFeature(columns=["predicted_x"]), None),
        (RegressionOutput(length=2), SequenceFeature(column="predicted_values"), None),
        (RegressionOutput(length=2), NumericFeature(columns=["predicted_values"]), "declare it as sequence"),
        (EmbeddingOutput(length=2), SequenceFeature(column="embedding"), None),
        (ColumnsOutput(columns={"n": "list<list<long>>"}), SequenceFeature(column="n"), "must be a list of numbers"),
        (MultilabelOutput(), SequenceFeature(column="scores"), None),
        (MultilabelOutput(), SequenceFeature(column="predicted_labels"), "must be a list of numbers"),
        (ClassificationOutput(top_k=1), SequenceFeature(column="top"), "must be a list of numbers"),
    ],
)
def test_the_columns_of_every_output_are_known(project: Path, output: Output, feature: Feature, message: str | None):
    labels = ["no", "yes"] if output.labelled else ()
    first = a_task(output=output, labels=labels, keep_columns=[])
    second = a_task(name="second", input="predictions/sample", features=[feature], keep_columns=[], where=[])
    definitions = location(project, first, second)
    if message is None:
        check_definitions(definitions)
    else:
        with pytest.raises(InputSchemaError, match=f"task 'second' .*{message}"):
            check_definitions(definitions)


def test_a_cycle_is_left_to_dagster(project: Path):
    one, two = a_task(name="one", input="predictions/two"), a_task(name="two", input="predictions/one")
    check_definitions(location(project, one, two))


@pytest.mark.filterwarnings("ignore::dagster.PreviewWarning")
def test_copies_that_dagster_makes_are_checked(project: Path):
    """Components may add tags, groups or owners, which copies the asset."""
    definitions = location(project, a_task(keep_columns=["gone"])).map_asset_specs(
        func=lambda spec: spec.merge_attributes(tags={"team": "x"})
    )
    with pytest.raises(InputSchemaError, match="'gone'"):
        check_definitions(definitions)


@pytest.mark.promise("O46")
@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("evnets", "events"),
        ("predictions/sampel", "predictions/sample"),
        ("orders", None),
        ("predictions/events", None),
    ],
)
def test_a_misspelt_input_is_a_warning(project: Path, warnings: Any, wanted: str, nearest: str | None):
    """Another code location may have it, so that it is no error; without a near match, nothing is said."""
    check_definitions(location(project, a_task(), a_task(name="second", input=wanted)))
    if nearest is None:
        assert warnings() == []
    else:
        (warning,) = warnings()
        assert (
            f"task 'second': no asset of this code location is its input {wanted!r}; did you mean {nearest!r}?"
            in warning
        )
        assert "can be ignored" in warning


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
@pytest.mark.promise("O45")
def test_two_tasks_of_one_name_name_their_files(project: Path):
    with create_defs_folder_sandbox() as sandbox:
        for folder in ("one", "other"):
            sandbox.scaffold_component(
                MlTaskComponent,
                defs_path=folder,
                defs_yaml_contents={
                    "type": "sparktorch_assets.MlTaskComponent",
                    "attributes": {
                        "name": "late",
                        "input": "flights",
                        "model": {"factory": "sparktorch_assets.testing:build"},
                        "features": [{"kind": "numeric", "columns": ["x"]}],
                        "labels": ["no", "yes"],
                    },
                },
            )
        with sandbox.build_all_defs() as definitions, pytest.raises(TaskError) as caught:
            check_definitions(definitions)
    assert re.search(
        r"asset 'predictions/late'.*/one/defs\.yaml, the other in .*/other/defs\.yaml; rename", str(caught.value)
    )


def test_two_input_tables_of_one_name_are_refused(project: Path):
    table = InputTable(name="events", source="other.csv", format="csv", columns=EVENTS)
    with pytest.raises(TaskError, match="two input tables would be the asset 'events', one declared in Python"):
        check_definitions(location(project, more=[build_input_asset(table)]))


@pytest.mark.promise("O46")
def test_an_input_of_another_kind_is_no_misspelling(project: Path, warnings: Any):
    """An asset of one's own, or one that only a specification declares."""

    @dg.asset
    def evens() -> None: ...

    more = [evens, dg.AssetSpec("event")]
    tasks = [a_task(name="one", input="evens"), a_task(name="two", input="event")]
    check_definitions(location(project, *tasks, more=more))
    assert warnings() == []


@pytest.mark.promise("O46")
def test_missing_weights_are_a_warning_that_names_what_is_there(project: Path, warnings: Any):
    weights = project / "data/models/sample/model.safetensors"
    weights.rename(weights.with_name("modle.safetensors"))
    check_definitions(location(project, a_task()))
    (warning,) = warnings()
    assert f"task 'sample': there is no file {weights}; did you mean 'modle.safetensors'?" in warning
    assert "If an upstream asset writes it" in warning


def test_missing_canaries_are_a_warning_as_well(project: Path, warnings: Any):
    check_definitions(location(project, a_task(audit=AuditPolicy(canaries="sample/canaries.parquet"))))
    (warning,) = warnings()
    assert "there is no file" in warning
    assert "sample/canaries.parquet" in warning


def test_an_own_check_whose_module_is_nowhere_is_refused_without_importing_anything(project: Path):
    with pytest.raises(
        TaskError, match="audit.checks='no_such_module:enough': module 'no_such_module' is not installed"
    ):
        location(project, a_task(audit=AuditPolicy(checks=["no_such_module:enough"])))


def test_a_models_root_that_the_run_sets_is_not_looked_at(project: Path, warnings: Any):
    (project / "data/models/sample/model.safetensors").unlink()
    loader = ModelLoaderResource(models_root=dg.EnvVar("NOT_SET_YET"))
    check_definitions(location(project, a_task(), model_loader=loader))
    assert warnings() == []
