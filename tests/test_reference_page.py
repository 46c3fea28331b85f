"""docs/reference.md: its tables are those that the declarations give, and its examples run."""

import dataclasses
import re
import runpy
import textwrap
from pathlib import Path

import pytest
from dagster.components.testing import create_defs_folder_sandbox
from page_blocks import blocks_run_by

import sparktorch_assets
from sparktorch_assets import RegressionOutput
from sparktorch_assets.orchestration.resources import StrictResource

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "reference.md"
BLOCKS = blocks_run_by(__file__)
EXAMPLES = [block.text for block in BLOCKS if block.language == "python"]
WRITE = runpy.run_path(str(DOCS / "write_reference.py"))


def test_the_page_is_what_the_script_writes():
    page = PAGE.read_text()
    assert WRITE["written"](page) == page, "run `make docs`"


def test_every_public_declaration_and_resource_has_its_table():
    public = {name: getattr(sparktorch_assets, name) for name in sparktorch_assets.__all__}
    declared = {
        name
        for name, value in public.items()
        if isinstance(value, type)
        and (
            issubclass(value, StrictResource)
            or (dataclasses.is_dataclass(value) and value.__module__.startswith("sparktorch_assets.tasks"))
        )
    }
    assert set(re.findall(r"<!-- fields: (\w+) -->", PAGE.read_text())) == declared
    assert len(declared) >= 16


def test_every_field_has_a_row_with_a_sentence():
    for name in re.findall(r"<!-- fields: (\w+) -->", PAGE.read_text()):
        kind = getattr(sparktorch_assets, name)
        fields = kind.model_fields if issubclass(kind, StrictResource) else [f.name for f in dataclasses.fields(kind)]
        rows = list(WRITE["table_of"](kind))[2:]
        assert sorted(re.match(r"\| `(\w+)` \|", row)[1] for row in rows) == sorted(fields)
        assert not [row for row in rows if not re.search(r"\w{3,}[^|]*[.)] \|$", row)]


@pytest.mark.parametrize(
    ("name", "field", "row"),
    [
        ("MlTask", "input", r"text \| required"),
        ("MlTask", "where", r"list of \[RowFilter\]\(#rowfilter\) \| empty"),
        ("MlTask", "features", r"list of \[feature groups\]\(#features\) \| required"),
        ("ModelSpec", "arguments", r"mapping from text to value \| empty"),
        ("NumericFeature", "kind", r"`numeric` \| required"),
        ("NumericFeature", "columns", r"list of texts \| required"),
        ("ImageFeature", "channels", r"`1` or `3` \| `3`"),
        ("InputTable", "source", r"path or list of paths \| required"),
        ("Hooks", "row_preprocessor", r"import path \| none"),
        ("LakeResource", "root", r"text \| `data/lake`"),
    ],
)
def test_types_and_defaults_are_those_of_yaml(name, field, row):
    (found,) = [found for found in WRITE["table_of"](getattr(sparktorch_assets, name)) if f"| `{field}` |" in found]
    assert re.match(rf"\| `{field}` \| {row} \| ", found), found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_the_examples_run_in_an_empty_folder(example, tmp_path, monkeypatch):
    """They hold their own assertions."""
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_the_pieces_of_yaml_make_a_task():
    pieces = [block.text for block in BLOCKS if block.language == "yaml"]
    assert len(pieces) + len(EXAMPLES) == len(BLOCKS)
    model = "input: rows\nmodel: {factory: my_project.models:load}\n"
    text = "type: sparktorch_assets.MlTaskComponent\n\nattributes:\n"
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "price"
        folder.mkdir()
        (folder / "defs.yaml").write_text(text + textwrap.indent(model + "".join(pieces), "  "))
        with sandbox.build_component_tree() as tree:
            component = tree.load_component(folder)
    assert (len(component.task.features), len(component.task.where)) == (3, 3)
    assert component.task.output == RegressionOutput(names=["price"], scale=12.5)


def test_links_between_the_pages_lead_to_headings():
    for page in (*DOCS.glob("*.md"), DOCS.parent / "README.md"):
        for target, heading in re.findall(r"\]\(([\w./-]+\.md)?(?:#([\w-]+))?\)", page.read_text()):
            if not target and not heading:
                continue
            linked = page.parent / target if target else page
            assert linked.is_file(), (page.name, target)
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert not heading or heading in anchors, (page.name, heading)


def test_the_pages_import_public_names_from_the_root():
    public = "|".join(sparktorch_assets.__all__)
    deep = re.compile(
        rf"sparktorch_assets(?:\.\w+)+\.(?:{public})\b|from sparktorch_assets\.[\w.]+ import .*\b(?:{public})\b"
    )
    for page in (*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")):
        assert not deep.findall(page.read_text()), page.name
