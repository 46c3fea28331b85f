"""YAML declarations: what loads, and what the user reads when it does not."""

import contextlib
import dataclasses
import datetime as dt
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster.components.testing import create_defs_folder_sandbox
from dagster.components.testing.utils import DefsFolderSandbox

from sparktorch_assets.orchestration.assets.factory import build_prediction_assets
from sparktorch_assets.orchestration.components.declared import InputTableComponent, MlTaskComponent
from sparktorch_assets.orchestration.components.scaffolders import MlTaskScaffolder
from sparktorch_assets.tasks import CategoricalFeature, Hooks, InputTable, MlTask, ModelSpec, NumericFeature, RowFilter
from sparktorch_assets.tasks.row_test import row_tests

# Dagster's own loading of components warns of its own beta features.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]

TASK = """\
type: sparktorch_assets.MlTaskComponent

attributes:
  input: events
  model:
    weights: churn/model.safetensors
    architecture: torch.nn:Linear
    arguments: {in_features: 2, sizes: [3, 4]}
  features:
    - kind: numeric
      columns: [a, b]
    - kind: categorical
      columns: [c]
      vocabulary: {c: [x, y]}
  labels: ["0", "1"]
  where:
    - {column: a, op: ">", value: 1}
"""
EXPECTED = MlTask(
    name="churn",
    input="events",
    model=ModelSpec(
        weights="churn/model.safetensors",
        architecture="torch.nn:Linear",
        arguments={"in_features": 2, "sizes": [3, 4]},
    ),
    features=[NumericFeature(columns=["a", "b"]), CategoricalFeature(columns=["c"], vocabulary={"c": ["x", "y"]})],
    labels=["0", "1"],
    where=[RowFilter(column="a", op=">", value=1)],
)


@pytest.fixture
def sandbox() -> Iterator[DefsFolderSandbox]:
    with create_defs_folder_sandbox() as sandbox:
        yield sandbox


def write(sandbox: DefsFolderSandbox, text: str, name: str = "churn") -> Path:
    folder = sandbox.defs_folder_path / name
    folder.mkdir()
    (folder / "defs.yaml").write_text(text)
    return folder


def load(sandbox: DefsFolderSandbox, text: str) -> MlTask:
    with sandbox.load_component_and_build_defs(write(sandbox, text)) as (component, _):
        assert isinstance(component, MlTaskComponent)
        return component.task


def problem(sandbox: DefsFolderSandbox, text: str) -> str:
    with pytest.raises(Exception) as caught:
        load(sandbox, text)
    return "".join(traceback.format_exception(caught.value))


def test_yaml_and_python_make_the_same_task_and_the_same_assets(sandbox: DefsFolderSandbox):
    with sandbox.load_component_and_build_defs(write(sandbox, TASK)) as (component, definitions):
        assert component == MlTaskComponent(task=EXPECTED)
        from_yaml = {spec.key: spec for asset in definitions.assets for spec in asset.specs}
    from_python = {spec.key: spec for asset in build_prediction_assets([EXPECTED]) for spec in asset.specs}
    assert from_yaml.keys() == from_python.keys()
    for key, spec in from_python.items():
        assert from_yaml[key].code_version == spec.code_version
        assert from_yaml[key].deps == spec.deps
        assert from_yaml[key].kinds == spec.kinds


def test_the_name_is_the_folders_unless_given(sandbox: DefsFolderSandbox):
    assert load(sandbox, TASK + "  name: other\n") == dataclasses.replace(EXPECTED, name="other")


def test_templates_are_rendered_and_nothing_else_changes_type(
    sandbox: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WEIGHTS", "here/model.safetensors")
    text = TASK.replace("churn/model.safetensors", '"{{ env.WEIGHTS }}"') + "  description: of {{ team }}\n"
    text = "template_vars_module: .vars\n" + text + "  preview_rows: \"{{ env('ROWS', '3') | int }}\"\n"
    folder = write(sandbox, text)
    (folder / "vars.py").write_text("import dagster as dg\n\n@dg.template_var\ndef team():\n    return 'sales'\n")
    with sandbox.build_component_tree() as tree:
        task = tree.load_component(folder).task
    assert task.preview_rows == 3
    assert task.description == "of sales"
    assert task.model.weights == "here/model.safetensors"
    assert task.labels == ("0", "1")


TABLE = """\
type: sparktorch_assets.InputTableComponent

attributes:
  source: [data/*.csv]
  format: csv
  columns: {b: long, a: string}
"""
FIELDS = [
    (text, field.name)
    for text, declaration in ((TASK, MlTask), (TABLE, InputTable))
    for field in dataclasses.fields(declaration)
]
CANARY = "{{ cycler.__init__.__globals__.os.popen('touch ' ~ env.CANARY).read() }}"


def _templated(text: str, field: str, template: str) -> str:
    """The declaration with `field` set to a template, whatever it says of that field."""
    head, _, attributes = text.partition("attributes:\n")
    blocks = [
        block for block in re.findall(r"  \w.*\n(?:    .*\n)*", attributes) if not block.startswith(f"  {field}:")
    ]
    return f"{head}attributes:\n{''.join(blocks)}  {field}: {template}\n"


@pytest.mark.parametrize("template", ['"{{ env.VALUE }}"', "\"a {{ env('VALUE') }}\"", '["{{ env.VALUE }}"]'])
@pytest.mark.parametrize(("text", "field"), FIELDS)
def test_what_came_out_of_the_environment_is_no_template(
    sandbox: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, field: str, template: str
):
    """A value of the environment is data in every field: it stands there as it is, or is refused, and never runs."""
    canary = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(canary))
    monkeypatch.setenv("VALUE", CANARY)
    folder = write(sandbox, _templated(text, field, template))
    shown = CANARY
    # Most fields take no such text, and say so.
    with contextlib.suppress(Exception), sandbox.build_component_tree() as tree:
        shown = repr(tree.load_component(folder))
    assert "cycler" in shown
    assert not canary.exists()


@pytest.mark.parametrize(
    "nested",
    [
        "model: {weights: a.safetensors, architecture: 'torch.nn:Linear', arguments: {path: VALUE, many: [1, VALUE]}}",
        "where: [{column: a, op: '==', value: VALUE}, {column: a, op: in, value: [VALUE, VALUE]}]",
        "features: [{kind: categorical, columns: [c], vocabulary: {c: [VALUE]}}, {kind: numeric, columns: [VALUE]}]",
        "labels: [VALUE, other]",
        "description: 'read {{ env.GIVEN }} and {{ team }}'",
    ],
)
def test_no_nested_text_is_rendered_twice(
    sandbox: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nested: str
):
    """Neither what the environment gave nor what a template variable gave."""
    canary = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(canary))
    monkeypatch.setenv("VALUE", CANARY)
    monkeypatch.setenv("GIVEN", CANARY)
    field, _, value = nested.partition(": ")
    text = _templated(TASK, field, value.replace("VALUE", '"{{ env.VALUE }}"'))
    folder = write(sandbox, "template_vars_module: .vars\n" + text)
    (folder / "vars.py").write_text(f"import dagster as dg\n\n@dg.template_var\ndef team():\n    return {CANARY!r}\n")
    with contextlib.suppress(dg.DagsterInvalidDefinitionError), sandbox.build_component_tree() as tree:
        assert "popen" in repr(tree.load_component(folder))
    assert not canary.exists()


PLAIN = ["yes", "5", '"5"', "1.0", "1.5", '"1.5"', "text", "0x10", "null"]
EXACT = {
    "max_failed_rows": {"5": 5, "0x10": 16},
    "preview_rows": {"5": 5, "0x10": 16},
    "max_failed_share": {"1.0": 1.0},
    "output_prefix": {'"5"': "5", "text": "text", '"1.5"': "1.5"},
    "model.trust_code": {"yes": True},
    "batch.batch_size": {"5": 5, "0x10": 16},
    "batch.batch_timeout_s": {"5": 5.0, "0x10": 16.0, "1.0": 1.0, "1.5": 1.5},
    "batch.deduplicate": {"yes": True},
}
"""Field -> what may be written there, and what it then is."""


@pytest.mark.parametrize("written", PLAIN)
@pytest.mark.parametrize("field", EXACT)
def test_numbers_are_numbers_and_texts_are_texts(sandbox: DefsFolderSandbox, field: str, written: str):
    """A value of another type is not made one: YAML reads `yes` as true, which pydantic would take for 1."""
    outer, _, inner = field.partition(".")
    if not inner:
        text = TASK + f"  {field}: {written}\n"
    elif outer == "model":
        text = TASK.replace("  model:\n", f"  model:\n    {inner}: {written}\n")
    else:
        text = TASK + f"  {outer}: {{{inner}: {written}}}\n"
    if written not in EXACT[field]:
        assert re.search(rf"attributes\.{field}.* at .*defs\.yaml:\d+|{inner or field}=", problem(sandbox, text))
        return
    found = load(sandbox, text)
    value = getattr(getattr(found, outer), inner) if inner else getattr(found, outer)
    assert (type(value), value) == (type(EXACT[field][written]), EXACT[field][written])


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("max_failed_rows", "5", 5),
        ("max_failed_share", "0.25", 0.25),
        ("batch", "{batch_size: VALUE}", 5),
        ("model", "{weights: a.safetensors, architecture: 'torch.nn:Linear', trust_code: VALUE}", True),
    ],
)
def test_the_environment_holds_text_and_may_stand_for_numbers(
    sandbox: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch, field: str, value: str, expected: object
):
    monkeypatch.setenv("GIVEN", "true" if expected is True else str(expected))
    written = value.replace("VALUE", '"{{ env.GIVEN }}"') if "VALUE" in value else '"{{ env.GIVEN }}"'
    found = getattr(load(sandbox, _templated(TASK, field, written)), field)
    found = {"batch": lambda: found.batch_size, "model": lambda: found.trust_code}.get(field, lambda: found)()
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("nothing", ["", "null", "~"])
@pytest.mark.parametrize("field", ["sha256", "keep_columns", "max_failed_rows", "cron", "fill", "name"])
def test_a_line_without_a_value_is_an_error(sandbox: DefsFolderSandbox, field: str, nothing: str):
    """It would be taken for one that was left out: no weights are compared, all columns are kept, no limit holds."""
    text = {
        "sha256": TASK.replace("    arguments:", f"    sha256: {nothing}\n    arguments:"),
        "fill": TASK.replace("      columns: [a, b]", f"      columns: [a, b]\n      fill: {nothing}"),
    }.get(field, TASK + f"  {field}: {nothing}\n")
    found = problem(sandbox, text)
    assert f"{field} has no value, which is the same as leaving it out" in found
    assert re.search(r"at .*defs\.yaml:\d+", found)


@pytest.mark.parametrize(
    "template", ["{{ env.UNSET }}", "a {{ env.UNSET }}", "{{ env('UNSET') }}", "{{ env.UNSET + '' }}"]
)
@pytest.mark.parametrize(("text", "field"), [*FIELDS, (TASK, "model")])
def test_a_variable_that_is_not_set_is_an_error_with_its_line(
    sandbox: DefsFolderSandbox, text: str, field: str, template: str
):
    """In every field: a setting whose variable is missing is not the same as a setting that was left out."""
    found = problem(sandbox, _templated(text, field, f'"{template}"'))
    assert re.search("[Ee]nvironment variable UNSET is not set", found)
    assert re.search(rf"attributes\.{field}.* at .*defs\.yaml:\d+", found)


def test_a_pin_whose_variable_is_not_set_does_not_vanish(sandbox: DefsFolderSandbox):
    pinned = TASK.replace("    arguments:", '    sha256: "{{ env.UNSET }}"\n    arguments:')
    assert "environment variable UNSET is not set" in problem(sandbox, pinned)


@pytest.mark.parametrize("default", ["{{ env('UNSET', 'abc') }}", "{{ env.UNSET | default('abc') }}"])
def test_a_variable_that_is_not_set_may_have_a_default(sandbox: DefsFolderSandbox, default: str):
    assert load(sandbox, TASK + f'  description: "{default}"\n').description == "abc"


@pytest.mark.parametrize(
    "template",
    [
        '"{{ env.SECRET }}"',
        "\"a {{ env('SECRET') }}\"",
        '"{{ env.SECRET | upper }}"',
        "\"{{ env.SECRET.encode('no such encoding') }}\"",
        '["{{ env.SECRET }}"]',
        '{a: {b: "{{ env.SECRET }}"}}',
        '{"a": ["x {{ env.SECRET }}"]}',
        '"{{ env.SECRET }} {{ team }}"',
    ],
)
@pytest.mark.parametrize(("text", "field"), FIELDS)
def test_no_message_shows_what_the_environment_gave(
    sandbox: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch, text: str, field: str, template: str
):
    """Wherever the value is refused, the message shows the template in its place."""
    monkeypatch.setenv("SECRET", "c4n4ry's \\ value")
    folder = write(sandbox, "template_vars_module: .vars\n" + _templated(text, field, template))
    (folder / "vars.py").write_text("import dagster as dg\n\n@dg.template_var\ndef team():\n    return 'sales'\n")
    try:
        with sandbox.build_component_tree() as tree:
            tree.load_component(folder)
    except Exception as error:  # noqa: BLE001  (many kinds; some fields take the text)
        shown = "".join(traceback.format_exception(error)) + str(serializable_error_info_from_exc_info(sys.exc_info()))
        assert "c4n4ry" not in shown.lower()
        assert "{{ env" in shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2013-01-01", "2013-01-01"),  # Dagster leaves dates as text
        ("'2013-01-01'", "2013-01-01"),
        ("!!timestamp 2013-01-01", dt.date(2013, 1, 1)),
        ("!!timestamp 2013-01-01 08:00:00", dt.datetime.fromisoformat("2013-01-01T08:00:00")),
        ("!!binary YWI=", b"ab"),
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
    ],
)
def test_a_filter_s_value_keeps_its_type(sandbox: DefsFolderSandbox, value: str, expected: object):
    """What YAML says is what is compared: no value becomes text, a number or a boolean on the way."""
    (condition,) = load(sandbox, TASK.replace("value: 1", f"value: {value}")).where
    assert (type(condition.value), condition.value) == (type(expected), expected)


@pytest.mark.parametrize("value", ["2013-01-01", "!!timestamp 2013-01-01"])
def test_a_date_from_yaml_is_compared_with_dates_and_times(sandbox: DefsFolderSandbox, value: str):
    """With or without quotes; a column of text takes the text alone."""
    task = load(sandbox, TASK.replace("value: 1", f"value: {value}"))
    for kind in ("date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]"):
        row_tests(task.where, {"a": kind}, "task 'churn'")


def test_comments_and_the_order_of_keys_change_no_version(sandbox: DefsFolderSandbox):
    head, _, attributes = TASK.partition("attributes:\n")
    blocks = re.findall(r"  \w.*\n(?:    .*\n)*", attributes)
    assert load(sandbox, f"# a comment\n{head}attributes:\n{''.join(reversed(blocks))}") == EXPECTED


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        (
            "kind: numeric",
            "kind: numerik",
            r"'numerik'.*'numeric', 'categorical', 'text', 'sequence', 'tensor', 'image', 'audio', 'custom'",
            10,
        ),
        ("columns: [a, b]", "columns: a", r"not allowed as a Sequence", 11),
        ("columns: [a, b]", "columns: [a, a]", r"NumericFeature.columns names 'a' more than once", 10),
        ("columns: [a, b]", "columns: [a, b]\n      colums: [a]", r"colums.*\n.*Unexpected keyword", 12),
        ('labels: ["0", "1"]', "labels: [0, 1]", r"should be a valid string", 15),
        ('labels: ["0", "1"]', 'labels: ["0", "0"]', r"MlTask 'churn': labels names '0' more than once", 15),
        ('labels: ["0", "1"]', 'labels: ["0"]\n  label: x', r"there is no field 'label'; did you mean 'labels'\?", 16),
        ("input: events", "input: ev ents", r"MlTask 'churn': input='ev ents' is not an asset key", 4),
        ("input: events", "inptu: events", r"Field required", 4),
        ("model.safetensors", "model.h5", r"the suffix '.h5' does not say what the format is", 6),
        ("architecture: torch.nn:Linear", "architecture: Linear", r"'Linear' is not an import path", 6),
        ('op: ">"', "op: bigger", r"'=='.*'!='", 17),
        ("input: events", "input: events\n  cron: daily", r"cron='daily' does not have cron's five fields", 5),
        ("input: events", "input: events\n  hooks: {row_preprocessor: clean}", r"'clean' is not an import path", 5),
        ("input: events", "input: events\n  batch: {batchsize: 3}", r"batch\.batchsize.*\n.*Unexpected keyword", 5),
        ("input: events", "input: events\n  execution: {precison: bf16}", r"precison.*\n.*Unexpected keyword", 5),
        (
            "input: events",
            "input: events\n  hooks: {row_preprocesor: 'json:loads'}",
            r"row_preprocesor.*\n.*Unexpected keyword",
            5,
        ),
        ("    weights:", "    weigths: x\n    weights:", r"model\.weigths.*\n.*Unexpected keyword", 6),
        ('{column: a, op: ">"', '{colum: a, column: a, op: ">"', r"where\.0\.colum .*\n.*Unexpected keyword", 17),
        ('labels: ["0", "1"]', 'labels: ["0"]', r"MlTask 'churn': labels=\['0'\] is a single class", 15),
        ("{c: [x, y]}", "{c: xyz}", r"CategoricalFeature.vocabulary\['c'\]='xyz' \(str\); expected a list", 12),
    ],
)
def test_a_wrong_value_is_named_with_its_line(sandbox: DefsFolderSandbox, old: str, new: str, message: str, line: int):
    assert old in TASK
    text = problem(sandbox, TASK.replace(old, new, 1))
    assert re.search(message, text), text
    found = [int(number) for number in re.findall(r"churn/defs\.yaml:(\d+)", text)]
    assert any(abs(number - line) <= 1 for number in found), text


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("kind: regression\n    scal: 2.0", r"attributes\.output\.scal\b"),
        ("kind: multilabel\n    thresholds: {a: '0.3'}", r"attributes\.output\.thresholds\.a\b.*\n.*a valid number"),
        ("kind: multilabel\n    thresholds: {a: true}", r"attributes\.output\.thresholds\.a\b.*\n.*a valid number"),
    ],
)
def test_a_wrong_option_of_an_output_is_named_with_its_line(sandbox: DefsFolderSandbox, output: str, message: str):
    """A text or a boolean in a mapping of numbers is none, as elsewhere."""
    text = problem(sandbox, TASK.replace('  labels: ["0", "1"]\n', f"  labels: [a, b]\n  output:\n    {output}\n"))
    assert re.search(message, text), text
    assert "churn/defs.yaml:18" in text, text


def test_a_misspelt_field_of_an_input_table_is_named_with_its_line(sandbox: DefsFolderSandbox):
    text = problem(sandbox, TABLE + "  max_rejectd_share: 0.5\n")
    assert re.search(r"max_rejectd_share.*\n.*did you mean 'max_rejected_share'\?", text), text
    assert "churn/defs.yaml:7" in text


def test_vocabulary_entries_keep_their_types(sandbox: DefsFolderSandbox):
    """A column of numbers or booleans has such values in its vocabulary."""
    feature = load(sandbox, TASK.replace("{c: [x, y]}", '{c: [1, "1", true, 1.5]}')).features[1]
    assert isinstance(feature, CategoricalFeature)
    ((_, values),) = feature.vocabulary
    assert [(type(value), value) for value in values] == [(int, 1), (str, "1"), (bool, True), (float, 1.5)]


def test_a_hook_that_cannot_be_found_is_named_at_load(sandbox: DefsFolderSandbox):
    text = problem(sandbox, TASK + "  hooks: {row_preprocessor: 'no_such_package.hooks:clean'}\n")
    assert "module 'no_such_package.hooks' is not installed here" in text


def test_hooks_may_be_functions_in_python_and_paths_in_yaml():
    schema = MlTaskComponent.get_model_cls().model_json_schema()
    assert schema["$defs"]["Hooks"]["properties"]["row_preprocessor"]["type"] == ["string", "null"]
    MlTaskComponent(task=dataclasses.replace(EXPECTED, hooks=Hooks(row_preprocessor=dict)))


def test_the_schema_knows_every_field_of_the_declarations():
    for component, declaration in ((MlTaskComponent, MlTask), (InputTableComponent, InputTable)):
        schema = component.get_model_cls().model_json_schema()
        assert set(schema["properties"]) == {field.name for field in dataclasses.fields(declaration)}
        assert "name" not in schema["required"]
        assert schema["additionalProperties"] is False


def test_an_input_table_keeps_the_order_of_its_columns(sandbox: DefsFolderSandbox):
    text = (
        "type: sparktorch_assets.InputTableComponent\nattributes:\n  source: [data/*.csv]\n  format: csv\n"
        "  columns: {b: long, a: string}\n  options: {header: true}\n"
    )
    with sandbox.load_component_and_build_defs(write(sandbox, text, "events")) as (component, definitions):
        assert component.table == InputTable(
            name="events",
            source=["data/*.csv"],
            format="csv",
            columns={"b": "long", "a": "string"},
            options={"header": True},
        )
        assert [spec.key for asset in definitions.assets for spec in asset.specs] == [dg.AssetKey("events")]


@pytest.mark.parametrize("name", ["my-task", "1st", "Foo", "class", "täsk"])
@pytest.mark.parametrize("component", [MlTaskComponent, InputTableComponent])
def test_no_component_is_scaffolded_under_a_name_that_would_not_load(
    sandbox: DefsFolderSandbox, component: type[dg.Component], name: str
):
    """And nothing is left of the attempt: what is there still loads."""
    sandbox.scaffold_component(component, defs_path="good")
    with pytest.raises(ValueError, match=f"'{name}' would be the name of an asset, a table and a Python module"):
        sandbox.scaffold_component(component, defs_path=name)
    assert not (sandbox.defs_folder_path / name).exists()
    with sandbox.build_all_defs() as definitions:
        dg.Definitions.validate_loadable(definitions)


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("  labels:", '  labels: ["a"]\n  labels:', "key 'labels' is given twice, first on line 15", 16),
        ("    weights:", "    weights: other.pt\n    weights:", "key 'weights' is given twice", 7),
        ("      columns: [a, b]\n", "      columns: [a]\n      columns: [a, b]\n", "key 'columns' is given twice", 12),
        ("type:", "type: a\ntype:", "key 'type' is given twice", 2),
        ("value: 1}", "value: no}", r"value: YAML reads no as false; write 'no' in quotes for text, or false", 17),
        ("value: 1}", "value: On}", r"value: YAML reads On as true", 17),
        ("value: 1}", "value: 01234}", r"value: YAML reads 01234 as 668", 17),
        ("value: 1}", "value: 12:30:00}", r"value: YAML reads 12:30:00 as 45000", 17),
        ('op: ">", value: 1}', "op: in, value: [a, yes]}", r"value: YAML reads yes as true", 17),
    ],
)
def test_what_a_yaml_parser_swallows_is_refused_with_its_line(
    sandbox: DefsFolderSandbox, old: str, new: str, message: str, line: int
):
    found = problem(sandbox, TASK.replace(old, new, 1))
    assert re.search(rf"defs\.yaml:{line}: .*{message}", found), found[-800:]


@pytest.mark.parametrize("value", ['"no"', "true", "1", "0", "-7", "0.5", "1e3", "'12:30:00'", "2013-01-01", "[0, 10]"])
def test_values_that_are_what_they_look_like_pass(sandbox: DefsFolderSandbox, value: str):
    operator = "in" if value.startswith("[") else "=="
    assert load(sandbox, TASK.replace('op: ">", value: 1}', f'op: "{operator}", value: {value}}}')).where


@pytest.mark.parametrize("text", ["of {{ nobody }}", "{{ nobody }}", "{{ nobody.name }} and {{ env.HOME }}"])
def test_a_template_that_nothing_defines_is_refused(sandbox: DefsFolderSandbox, text: str):
    """Jinja would put nothing in its place."""
    found = problem(sandbox, TASK + f'  description: "{text}"\n')
    assert "uses nobody, which is not defined; the defined names are: " in found
    assert "defs.yaml" in found


def test_the_skeleton_names_every_kind_of_feature():
    kinds = MlTaskComponent.get_model_cls().model_json_schema()["properties"]["features"]["else"]["items"]["else"]
    (named,) = re.findall(r"Kinds: (.*)\.", MlTaskScaffolder.skeleton)
    assert sorted(named.split(", ")) == sorted(kinds["discriminator"]["mapping"])


def test_what_scaffolding_writes_loads_as_it_is_and_brings_the_resources_once(sandbox: DefsFolderSandbox):
    sandbox.scaffold_component(MlTaskComponent, defs_path="topic")
    sandbox.scaffold_component(InputTableComponent, defs_path="events")
    assert len(list(sandbox.defs_folder_path.rglob("sparktorch_runtime.py"))) == 1
    with sandbox.build_all_defs() as definitions:
        keys = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
        assert keys == {"events", "models/topic", "predictions/topic"}
        dg.Definitions.validate_loadable(definitions)
        assert {schedule.name for schedule in definitions.schedules or []} == {"daily_predictions"}
        assert definitions.resources["lake"].project_root == str(sandbox.project_root)
