"""The examples of docs/tables.md run as they stand."""

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "tables.md"


@pytest.mark.promise("T3", "T30", "T59")
def test_the_examples_about_tables_run_from_top_to_bottom(spark, tmp_path, monkeypatch, capsys):
    """They hold their own assertions; the running session is what `start_session` finds."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    exec(compile("\n".join(blocks), str(DOCUMENT), "exec"), {})
    assert "up to date" in capsys.readouterr().out
