"""The sentences under the fields of the declarations, and the JSON schema that shows them to editors and `dg`."""

import dataclasses
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from sparktorch_assets.orchestration.components.declared import InputTableComponent, MlTaskComponent
from sparktorch_assets.orchestration.components.field_docs import field_docs
from sparktorch_assets.orchestration.resources import ModelLoaderResource
from sparktorch_assets.tasks import Feature, Hooks, InputTable, MlTask, OutputColumn, SlotPolicy, TextFeature
from sparktorch_assets.tasks.input_table import SOURCE_TYPES
from sparktorch_assets.tasks.ml_task import COLUMN_TYPES


def declarations_in(annotation: Any) -> set[type]:
    """The dataclasses in an annotation, and those in their fields."""
    if dataclasses.is_dataclass(annotation):
        inner = typing.get_type_hints(annotation).values()
        return {annotation}.union(*map(declarations_in, inner))
    return set().union(*map(declarations_in, typing.get_args(annotation)))


DECLARATIONS = declarations_in(MlTask | InputTable | SlotPolicy | OutputColumn)


def test_the_declarations_are_found():
    assert isinstance(Feature, UnionType)
    assert {MlTask, InputTable, Hooks, *typing.get_args(Feature)} < DECLARATIONS


@pytest.mark.parametrize("declaration", sorted(DECLARATIONS, key=lambda kind: kind.__name__))
def test_every_field_has_a_sentence(declaration: type):
    docs = field_docs(declaration)
    bare = [
        field.name
        for field in dataclasses.fields(declaration)
        if not docs.get(field.name, "").endswith((".", ")", '"'))
    ]
    assert not bare, f"write a sentence below {declaration.__name__}'s {', '.join(bare)}"


def schema_of_the_component(model: type[BaseModel]) -> Any:
    """What `dg check yaml` uses."""
    return model.model_json_schema()


def schema_for_editors(model: type[BaseModel]) -> Any:
    """What `dg utils configure-editor` writes: `list_all_components_schema` puts the models of all components together,
    and asks none of them for its schema."""
    return TypeAdapter(model).json_schema()


@pytest.mark.parametrize("schema_of", [schema_of_the_component, schema_for_editors])
@pytest.mark.parametrize(("component", "declaration"), [(MlTaskComponent, MlTask), (InputTableComponent, InputTable)])
def test_the_schema_describes_every_field_with_the_sentence_below_it(
    component: Any, declaration: type, schema_of: Callable[[type[BaseModel]], Any]
):
    schema = schema_of(component.get_model_cls())
    found = {kind.__name__: kind for kind in DECLARATIONS}
    objects = {declaration.__name__: schema, **schema.get("$defs", {})}
    assert objects.keys() == {kind.__name__ for kind in declarations_in(declaration)}
    for name, described in objects.items():
        assert described["description"].split("\n")[0] in (found[name].__doc__ or "")
        for field, value in described["properties"].items():
            assert " ".join(value["description"].split()).startswith(field_docs(found[name])[field])
    assert "the folder's name" in schema["properties"]["name"]["description"]


def test_a_sentence_is_one_line_and_nothing_else_is_one():
    assert field_docs(TextFeature)["max_tokens"] == "Longer texts are cut to this many tokens."
    assert "\n" not in "".join(field_docs(MlTask).values())
    assert "check_input" not in field_docs(MlTask)


def test_inherited_fields_keep_theirs_and_those_of_other_packages_are_left_out():
    assert {"project_root", "loader"} <= field_docs(ModelLoaderResource).keys()
    assert "model_config" not in field_docs(ModelLoaderResource)


@pytest.mark.parametrize(
    ("declaration", "field", "types"), [(MlTask, "hook_columns", COLUMN_TYPES), (InputTable, "columns", SOURCE_TYPES)]
)
def test_the_sentence_about_types_names_all_of_them(declaration: type, field: str, types: tuple[str, ...]):
    assert not [name for name in types if f"`{name}`" not in field_docs(declaration)[field]]


def test_without_sources_there_are_no_sentences_and_no_error(tmp_path: Path):
    """A package may be installed as bytecode alone."""
    (tmp_path / "bare.py").write_text(
        'from dataclasses import dataclass\n\n@dataclass\nclass Bare:\n    x: int = 0\n    """A number."""\n'
    )
    code = (
        "import sys, py_compile, pathlib\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "py_compile.compile(str(folder / 'bare.py'), cfile=str(folder / 'bare.pyc'))\n"
        "from sparktorch_assets.orchestration.components.field_docs import field_docs\n"
        "sys.path.insert(0, str(folder))\n"
        "if sys.argv[2] == 'bytecode':\n"
        "    (folder / 'bare.py').unlink()\n"
        "import bare\n"
        "print(dict(field_docs(bare.Bare)))"
    )
    shown = [
        subprocess.run(
            [sys.executable, "-c", code, tmp_path, given], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
        for given in ("source", "bytecode")
    ]
    assert shown == ["{'x': 'A number.'}", "{}"]
