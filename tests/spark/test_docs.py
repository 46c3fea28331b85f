"""The examples of docs/tables.md run as they stand."""

import pytest
from page_blocks import blocks_run_by


@pytest.mark.promise("T3", "T30", "T59")
def test_the_examples_about_tables_run_from_top_to_bottom(spark, tmp_path, monkeypatch, capsys):
    """They hold their own assertions; the running session is what `start_session` finds."""
    monkeypatch.chdir(tmp_path)
    blocks = blocks_run_by(__file__)
    assert {block.language for block in blocks} == {"python"}
    exec(compile("\n".join(block.text for block in blocks), "tables.md", "exec"), {})
    assert "up to date" in capsys.readouterr().out
