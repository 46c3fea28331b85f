"""The declarations of docs/ load as they stand, and predict the columns that they name."""

import re
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from page_blocks import blocks_run_by
from page_models import COLUMNS, MODELS, RECORDED, write_photos
from tiny_folders import write_tokenizer

from sparktorch_assets.predict.frame import predict_frame
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks.features import Feature
from sparktorch_assets.tasks.outputs import Output

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated"),
]

DOCS = Path(__file__).parents[1] / "docs"
TEXT = "\n".join((DOCS / page).read_text() for page in ("models.md", "features.md", "outputs.md", "predicting.md"))
FILES = dict(re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))
DECLARATIONS = {Path(path).parent.name: text for path, text in FILES.items() if path.endswith("defs.yaml")}
FEATURES = re.findall(r"^```yaml\n(features: .*?)^```", TEXT, re.DOTALL | re.MULTILINE)
(RESOURCE,) = [block.text for block in blocks_run_by(__file__) if block.section == "A models root at a URI"]
LOADED_ONLY = {"arrival_delay": "its address needs a registry; tests/test_mlflow_registry.py has one"}
SLOW = {"risk_compiled"}
KINDS = (*get_args(Feature), *get_args(Output))

WITH_FEATURES = """\
type: sparktorch_assets.MlTaskComponent

attributes:
  input: rows
  model: {factory: page_models:recorder}
  output: {kind: regression}
"""


@pytest.fixture(autouse=True)
def my_project(tmp_path, monkeypatch):
    """The package whose code the pages show."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "cache"))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


@contextmanager
def loaded(name, text, write):
    """The component of a `defs.yaml`, and the models root."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / name
        folder.mkdir()
        (folder / "defs.yaml").write_text(text)
        root = sandbox.project_root / "data" / "models"
        root.mkdir(parents=True)
        write(root)
        with sandbox.load_component_and_build_defs(folder) as (component, definitions):
            assert len(list(definitions.assets or ())) == 2
            yield component, root


def predicted(task, root, columns):
    """The columns that predicting adds, of rows none of which fails."""
    frame = pd.DataFrame({name: COLUMNS[name] for name in columns})
    found = predict_frame(frame, task, model_loader=ModelLoader(root, device="cpu"))
    assert list(found["prediction_error"]) == [None, None]
    added = found.drop(columns=[*frame.columns, "prediction_error"])
    assert not added.isna().any(axis=None)
    return list(added.columns)


def test_each_block_is_one_of_these():
    blocks = blocks_run_by(__file__)
    in_python = [block.text for block in blocks if block.language == "python" and not block.file]
    assert {block.text for block in blocks} == {*FILES.values(), *FEATURES, *in_python}
    assert in_python == [RESOURCE]


def test_each_declaration_has_a_model():
    assert MODELS.keys() | LOADED_ONLY.keys() == DECLARATIONS.keys()


@pytest.mark.promise("M1", "M2", "M3", "M111", "M112", "M170", "M186")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_a_declaration_predicts_the_columns_that_it_names(name):
    text = DECLARATIONS[name]
    (named,) = re.findall(r"\A# adds: (.*)\n", text)
    with loaded(name, text, MODELS[name]) as (component, root):
        columns = component.task.feature_columns or ("distance", "departure_delay")
        assert predicted(component.task, root, columns) == named.split(", ")


@pytest.mark.parametrize("name", LOADED_ONLY)
def test_a_declaration_loads(name):
    with loaded(name, DECLARATIONS[name], lambda root: None) as (component, _):
        added = [column.name for column in component.task.output_columns if column.name != "prediction_error"]
        assert DECLARATIONS[name].startswith(f"# adds: {', '.join(added)}\n")


@pytest.mark.parametrize("features", FEATURES, ids=lambda text: text.splitlines()[0].partition("# ")[2])
def test_forward_gets_what_the_features_say(features, tmp_path):
    """The first line names the arguments, each with a letter per dimension."""
    write_photos(tmp_path / "photos")
    text = WITH_FEATURES + textwrap.indent(features.replace("s3://shop/photos", str(tmp_path / "photos")), "  ")

    def write(root):
        for folder in ("sentiment", "clip"):
            write_tokenizer(root / folder)

    with loaded("recorded", text, write) as (component, root):
        assert predicted(component.task, root, component.task.feature_columns) == ["predicted_value"]
    (signature,) = re.findall(r"forward\((.*)\)", features.splitlines()[0])
    positional, _, named = signature.partition("*, ")
    found_positional, found_named = RECORDED
    assert [tensor.ndim for tensor in found_positional] == [ndim for _, ndim in named_tensors(positional)]
    assert {(name, tensor.ndim) for name, tensor in found_named.items()} == set(named_tensors(named))


def named_tensors(arguments):
    """Names and numbers of dimensions of `pixels_BCHW, mask_BT`."""
    return [(name, len(letters)) for name, letters in re.findall(r"(\w+)_([A-Z]+)", arguments)]


def test_each_kind_has_a_declaration():
    declared = set(re.findall(r"kind: (\w+)", "".join([*DECLARATIONS.values(), *FEATURES])))
    assert declared == {next(field.default for field in fields(one) if field.name == "kind") for one in KINDS}


def test_the_resource_of_a_models_root_at_a_uri(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(RESOURCE, "models.md", "exec"), found)
    assert found["runtime"].resources["model_loader"].models_root == "s3://bucket/models"
