"""The declaration and the asset that docs/partitions.md shows."""

from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from page_blocks import blocks_run_by

BLOCKS = {block.language: block.text for block in blocks_run_by(__file__)}


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_the_declaration_divides_the_table_into_the_months_of_a_year():
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "flights"
        folder.mkdir()
        (folder / "defs.yaml").write_text(BLOCKS["yaml"])
        with sandbox.load_component_and_build_defs(folder) as (_, definitions):
            (asset,) = definitions.assets or ()
            assert isinstance(asset, dg.AssetsDefinition)
            assert asset.partitions_def is not None
            keys = asset.partitions_def.get_partition_keys()
    assert list(keys) == [f"2013-{month:02}-01" for month in range(1, 13)]


def test_the_asset_of_ones_own_is_back_filled_in_one_run():
    found: dict[str, Any] = {}
    exec(compile(BLOCKS["python"], "partitions.md", "exec"), found)
    tags = {"dagster/asset_partition_range_start": "2013-02-01", "dagster/asset_partition_range_end": "2013-04-01"}
    result = dg.materialize([found["report"]], tags=tags)
    written = [event.partition for event in result.asset_materializations_for_node("report")]
    assert sorted(filter(None, written)) == ["2013-02-01", "2013-03-01", "2013-04-01"]
