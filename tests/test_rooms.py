"""Importing a room loads only what the room may use: one fresh interpreter each."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sparktorch_assets"
HEAVY = ("dagster", "deltalake", "numpy", "pandas", "pyarrow", "pydantic", "pyspark", "torch")


def modules_of(room: str) -> list[str]:
    paths = (PACKAGE / room).rglob("*.py")
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in paths]
    return sorted(name.removesuffix(".__init__") for name in names)


def loaded_after(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("tasks", set(HEAVY)),
        ("predict", {"dagster", "deltalake", "pyspark"}),
        ("lake", {"dagster", "pyspark", "torch"}),
        ("spark", {"dagster", "torch"}),
        ("orchestration", {"torch"}),
    ],
)
def test_a_room_loads_nothing_that_it_must_not_know(room: str, never: set[str]):
    statement = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in modules_of(room))
    assert loaded_after(statement) & never == set()


@pytest.mark.parametrize(
    "statement", ["import sparktorch_assets", "import sparktorch_assets.errors, sparktorch_assets.tally"]
)
def test_the_package_itself_loads_nothing(statement: str):
    assert loaded_after(statement) == set()


def test_declaring_a_task_needs_the_standard_library_alone():
    assert loaded_after("from sparktorch_assets import MlTask, ModelSpec, NumericFeature, InputTable") == set()


def test_the_model_loader_and_the_schema_can_be_named_on_the_driver_without_torch():
    assert "torch" not in loaded_after("import sparktorch_assets.predict.loader, sparktorch_assets.predict.schema")


def test_looking_up_every_public_name_loads_neither_torch_nor_pandas():
    """Dagster's registry does so in every project that has this package installed, to find its components."""
    found = loaded_after(
        "import sparktorch_assets\n"
        "for name in dir(sparktorch_assets): getattr(sparktorch_assets, name)\n"
        "assert set(sparktorch_assets.__all__) - set(dir(sparktorch_assets)) == {'TaskTransformer'}"
    )
    assert found & {"torch", "pandas"} == set()


def test_every_public_name_is_listed():
    """A notebook's completion shows what `dir` lists: the public names, and those that every module has. The one that
    loads pandas is left to completion by the stub."""
    import sparktorch_assets

    assert {*dir(sparktorch_assets), "TaskTransformer"} == {*sparktorch_assets.__all__, *vars(sparktorch_assets)}


def test_the_code_location_loads_without_torch_and_starts_no_jvm():
    found = loaded_after(
        "from sparktorch_assets.definitions import defs\n"
        "found = defs()\n"
        "assert len(list(found.resolve_all_asset_keys())) == 26\n"
        "import sys\n"
        "assert 'py4j.java_gateway' not in sys.modules or __import__('pyspark').SparkContext._gateway is None"
    )
    assert "torch" not in found


def test_every_public_name_exists():
    import sparktorch_assets

    for name in sparktorch_assets.__all__:
        assert getattr(sparktorch_assets, name).__name__ == name
    stub = (PACKAGE / "__init__.pyi").read_text()
    assert sorted(re.findall(r"import (\w+) as \1$", stub, re.MULTILINE)) == sparktorch_assets.__all__
    for home, name in re.findall(r"^from (\S+) import (\w+) as", stub, re.MULTILINE):
        assert getattr(importlib.import_module(home), name) is getattr(sparktorch_assets, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        sparktorch_assets.nothing
