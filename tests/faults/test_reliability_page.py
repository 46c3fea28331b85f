"""The example of docs/reliability.md runs as it is written."""

import pytest
from faulty_world import NETS, task, write_source
from page_blocks import blocks_run_by

from sparktorch_assets.predict.loader import ModelLoader


@pytest.mark.slow
@pytest.mark.promise("O258")
def test_the_example_finds_a_table_exact_after_every_fault(spark, tmp_path, capsys):
    spark.sparkContext.addPyFile(str(NETS))
    write_source(tmp_path, files=4)
    given = {
        "spark": spark,
        "source": str(tmp_path / "source"),
        "task": task(seconds_per_row=0.05),
        "loader": ModelLoader(tmp_path, device="cpu"),
        "folder": str(tmp_path),
        "key": "id",
    }
    (block,) = blocks_run_by(__file__)
    exec(block.text, given)
    assert given["number"] >= 3
    assert "to be vacuumed: [" in capsys.readouterr().out
