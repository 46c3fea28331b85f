"""A table whose log others have shortened: every commit of ours is gone from it, and nothing is scored again."""

import pytest
from deltalake import DeltaTable
from test_promotion import CHALLENGER, CHAMPION, lake  # noqa: F401  (a fixture)
from test_slow_models import lake as slow_lake  # noqa: F401

from sparktorch_assets.lake.table import Table
from sparktorch_assets.tasks import promote

pytestmark = pytest.mark.promise("T178")


def shorten(table):
    """As another writer does that knows nothing of us: nothing is left but a checkpoint and one commit of a property."""
    DeltaTable(str(table)).alter.set_table_properties({"x.number": "1"}, raise_if_not_exists=False)
    DeltaTable(str(table)).create_checkpoint()
    last = DeltaTable(str(table)).version()
    for path in (table / "_delta_log").glob("*.json"):
        if int(path.stem) < last:
            path.unlink()
    assert not any(Table(str(table)).commits())


def test_rows_that_were_scored_again_at_request_stay(lake):  # noqa: F811
    lake.score(CHAMPION, "champion")
    lake.score(CHAMPION, "champion", rescore="run 1")
    shorten(lake.root / "champion")
    report = lake.score(CHAMPION, "champion")
    assert (report.changed, report.rows_new, report.tally.rows) == (False, 0, 10)
    assert lake.score(CHAMPION, "champion", rescore="run 2").rows_new == 10


def test_a_promotion_finds_what_the_challenger_has(lake):  # noqa: F811
    lake.score(CHAMPION, "champion")
    lake.score(CHALLENGER, "challenger", rescore="run 1")
    shorten(lake.root / "champion")
    shorten(lake.root / "challenger")
    report = lake.score(promote(CHAMPION, CHALLENGER), "champion", "challenger")
    assert (report.rows_new, report.shards_resumed) == (0, 1)


def test_the_cut_of_a_slow_model_stays(slow_lake):  # noqa: F811
    """Also if the file is gone that the run had left until its commit."""
    slow_lake.write("a", 4000)
    slow_lake.score()
    parts, numbers = slow_lake.parts(), slow_lake.numbers()
    assert len(parts) > 1
    shorten(slow_lake.root / "table")
    for path in (slow_lake.root / "table").glob("_shard_rows*"):
        path.unlink()
    assert not slow_lake.score().changed
    slow_lake.write("b", 4000)
    report = slow_lake.score()
    assert (report.shards_unchanged, report.rows_new) == (len(parts), 4000)
    assert slow_lake.numbers() == numbers
