"""Every promise of docs/tables.md and docs/models.md has a number, and a test that cites it: `@pytest.mark.promise("T12")`.

A promise that is added takes the next free number of its page; a number that is given up is not given again.
"""

import ast
import inspect
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from sparktorch_assets.lake import shards, vacuum
from sparktorch_assets.predict import encode_image, file_bounds, precision
from sparktorch_assets.tasks import BatchPolicy, MlTask, SequenceFeature, SlotPolicy, TextFeature

ROOT = Path(__file__).parents[1]
PAGES = {"T": ROOT / "docs" / "tables.md", "M": ROOT / "docs" / "models.md"}
NUMBER = re.compile(r"<sup>([A-Z]\d+)</sup>")

PROMISES_NOTHING = (
    "| a planned part is | then |",
    "| file | in `model:` |",
    "| `kind` | from | `forward` gets |",
    "| --- |",
)
"""Beginnings of rows and paragraphs that promise nothing."""


def numbers(page):
    return NUMBER.findall(page.read_text())


def citations():
    """Number -> the tests that cite it."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise":
                for argument in node.args:
                    found.setdefault(ast.literal_eval(argument), []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def blocks(page):
    """Paragraphs, list items and rows of tables; no headings, no code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=[-|] ?)", text):
        if block.strip() and not block.strip().startswith("#"):
            yield " ".join(block.split())


@pytest.mark.parametrize("letter", PAGES)
def test_numbers_are_unique_and_of_their_page(letter):
    found = numbers(PAGES[letter])
    assert len(found) > 50
    assert {number for number, count in Counter(found).items() if count > 1} == set()
    assert {number[0] for number in found} == {letter}


def test_every_promise_is_cited_by_a_test():
    promised = {number for page in PAGES.values() for number in numbers(page)}
    missing = sorted(promised - citations().keys())
    assert not missing, (
        f"no test cites {', '.join(missing)}: mark the one that holds it, @pytest.mark.promise({missing[0]!r})"
    )


def test_every_citation_is_of_a_promise():
    promised = {number for page in PAGES.values() for number in numbers(page)}
    unknown = {number: places for number, places in citations().items() if number not in promised}
    assert not unknown, f"the pages hold no such promise: {unknown}"


@pytest.mark.parametrize("letter", PAGES)
def test_every_paragraph_has_a_number(letter):
    """What is written there is a promise; what is none is listed here."""
    bare = [
        block for block in blocks(PAGES[letter]) if not NUMBER.search(block) and not block.startswith(PROMISES_NOTHING)
    ]
    assert not bare, (
        f"{PAGES[letter].name} says without a number: {bare}. Number it and mark the test that holds it, or list its "
        f"beginning in PROMISES_NOTHING, where nothing could be tested"
    )


def default(kind, name):
    return next(field.default for field in fields(kind) if field.name == name)


FIGURES = [
    ("T", r"until they hold ([\d,]+) rows", shards.TARGET_ROWS),
    ("T", r"rows or ([\d,]+) MiB\.", shards.TARGET_BYTES >> 20),
    ("M", r"a checkpoint's pickle have at most (\d+) MiB", file_bounds.MAX_INDEX_BYTES >> 20),
    ("M", r"a\s+vocabulary (\d+) MiB", file_bounds.MAX_VOCABULARY_BYTES >> 20),
    ("M", r"a tokenizer (\d+) MiB", file_bounds.MAX_TOKENIZER_BYTES >> 20),
    ("M", r"cut to their first (\d+) tokens", default(TextFeature, "max_tokens")),
    ("M", r"cut to their first (\d+) tokens", default(SequenceFeature, "max_length")),
    ("M", r"more than ([\d,]+) pixels", encode_image.MAX_PIXELS),
    ("M", r"encoded (\d+) MiB at a time", default(BatchPolicy, "window_bytes") >> 20),
    ("M", r"within `window_rows` \(([\d,]+)\)", default(BatchPolicy, "window_rows")),
    ("M", r"on the first (\d+) rows of every pack", precision.COMPARED_ROWS),
    ("M", r"Over `max_failed_share` \((\d+) %\)", default(MlTask, "max_failed_share") * 100),
    ("M", r"`max_dropped_share` \((\d+) %\)", default(MlTask, "max_dropped_share") * 100),
    ("M", r"`models_per_gpu`\s+instances \((\d+)\)", default(SlotPolicy, "models_per_gpu")),
]


@pytest.mark.parametrize(("letter", "pattern", "value"), FIGURES, ids=[pattern for _, pattern, _ in FIGURES])
def test_figures_of_the_pages_are_the_codes(letter, pattern, value):
    (found,) = re.findall(pattern, PAGES[letter].read_text())
    assert int(found.replace(",", "")) == value


def test_the_retention_of_the_page_is_the_codes():
    assert inspect.signature(vacuum.vacuum).parameters["retention_hours"].default == 7 * 24
    assert "a week, if you do not say" in PAGES["T"].read_text()
