"""Each code block of the pages is run by a test, or is listed with the reason why none does."""

import pytest
from page_blocks import NOT_RUN, PAGES, ROOT, RUNNERS, blocks_of, blocks_run_by

BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def test_every_fence_belongs_to_a_block():
    """None is missed because of how it is written."""
    for page in PAGES:
        fences = sum(line.lstrip().startswith("```") for line in page.read_text(encoding="utf-8").splitlines())
        assert fences == 2 * len(blocks_of(page)), page


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page} {block.first_line[:40]}")
def test_a_block_is_run_by_one_test_or_listed(block):
    running = [test for test, runs in RUNNERS.items() if runs(block)]
    if (block.page, block.first_line) in NOT_RUN:
        assert not running, "it is run: take it off the list"
    else:
        assert len(running) == 1, "run it in a test, and name that in RUNNERS"


def test_the_list_of_what_is_not_run_is_current_and_short():
    assert NOT_RUN.keys() <= {(block.page, block.first_line) for block in BLOCKS}
    assert len(NOT_RUN) <= 16


@pytest.mark.parametrize("test", RUNNERS)
def test_a_runner_asks_for_its_blocks(test):
    assert "blocks_run_by(__file__)" in (ROOT / test).read_text()
    assert blocks_run_by(str(ROOT / test))
