"""The declarations and the line of Python that docs/asset-pages.md shows."""

import textwrap
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from page_blocks import blocks_run_by

BLOCKS = {block.first_line: block.text for block in blocks_run_by(__file__)}
TASK = """\
type: sparktorch_assets.MlTaskComponent

attributes:
  input: rows
  model: {factory: my_project.models:load}
  features: [{kind: numeric, columns: [x]}]
  labels: [low, high]
"""
TABLE = """\
type: sparktorch_assets.InputTableComponent

attributes:
  source: flights.csv
  format: csv
"""


def loaded(attributes: str, block: str) -> Any:
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "shown"
        folder.mkdir()
        (folder / "defs.yaml").write_text(attributes + textwrap.indent(block, "  "))
        with sandbox.load_component_and_build_defs(folder) as (component, _):
            return component


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_the_pieces_of_yaml_load():
    assert loaded(TASK, BLOCKS["truth: label"]).task.truth == "label"
    table = loaded(TABLE, BLOCKS["columns:"]).table
    assert [name for name, _ in table.typed_columns] == ["flight_id", "carrier"]


def test_the_lines_of_python_give_a_lineage():
    (lines,) = [block.text for block in blocks_run_by(__file__) if block.language == "python"]
    with dg.DagsterInstance.ephemeral() as instance:
        found: dict[str, Any] = {"context": SimpleNamespace(instance=instance)}
        exec(lines, found)
    assert "dagster/column_lineage" in found["metadata"]
