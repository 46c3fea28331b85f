"""docs/reliability.md cites tests that exist and promises that they hold; docs/scale.md cites figures of the log."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROWS = [
    [fault, holds, "".join(seen), test]
    for line in (DOCS / "reliability.md").read_text().splitlines()
    if "::test_" in line
    for fault, holds, *seen, test in [[cell.strip() for cell in line.strip("|").split("|")]]
]
"""Fault, what holds, what was seen where the table says so, and the test."""
PROMISED = set(re.findall(r"<sup>([A-Z]\d+)</sup>", "".join(page.read_text() for page in DOCS.glob("*.md"))))


@cache
def promises_of(path):
    """The test functions of a file -> the promises that each cites, its file's own included."""
    tree = ast.parse((ROOT / path).read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = [mark for mark in map(ast.unparse, node.decorator_list) if "promise(" in mark]
            found[node.name] = set(re.findall(r"[A-Z]\d+", " ".join(marks)))
    return found


@pytest.mark.parametrize(("fault", "holds", "seen", "test"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_fault_names_the_test_that_causes_it(fault, holds, seen, test):
    path, name = test.strip("`").split("::")
    numbers = set(re.findall(r"\b[TMO]\d+\b", holds))
    assert numbers <= PROMISED
    cited = promises_of(path)[name]
    assert not numbers or numbers & cited, f"{test} cites {sorted(cited)}"


def test_there_are_faults_of_every_kind():
    assert len(ROWS) >= 40
    assert sum(bool(seen) for _, _, seen, _ in ROWS) >= 17


def test_figures_are_in_the_log():
    """Each number of a table, as it is written there."""
    log = (ROOT / "benchmarks" / "LOG.md").read_text()
    tables = [line for line in (DOCS / "scale.md").read_text().splitlines() if line.startswith("|")]
    figures = {figure for line in tables for figure in re.findall(r"\d[\d,]*\.\d+|\d+,\d{3}|\d+ M\b", line)}
    assert len(figures) > 25
    assert not {figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d])", log)}
