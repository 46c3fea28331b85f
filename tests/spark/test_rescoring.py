"""Rows that are scored again at request: under new names, once, and without touching what was there."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable
from test_promotion import CHALLENGER, CHAMPION, Lake, lake  # noqa: F401  (a fixture)

from sparktorch_assets.errors import TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.plan import rescoring
from sparktorch_assets.spark.score.plan.rescoring import Rescoring
from sparktorch_assets.spark.score.table import plan_table
from sparktorch_assets.tasks import promote

pytestmark = pytest.mark.promise("O117")


def parts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("part-*.parquet")}


def test_every_row_is_scored_again_and_no_file_is_changed(lake):  # noqa: F811
    first = lake.score(CHAMPION, "champion")
    before = parts(lake.root / "champion")
    again = lake.score(CHAMPION, "champion", rescore="run 1")
    assert (again.rows_new, again.shards_removed, again.changed) == (10, 1, True)
    after = parts(lake.root / "champion")
    assert len(after) == 2
    assert {name: after[name] for name in before} == before
    assert lake.rows("champion") == lake.rows("champion", version=first.version)


def test_later_runs_find_nothing_to_do_and_the_same_request_goes_on(lake):  # noqa: F811
    lake.score(CHAMPION, "champion")
    lake.score(CHAMPION, "champion", rescore="run 1")
    for request in ("", "run 1"):
        assert not lake.score(CHAMPION, "champion", rescore=request).changed
    assert lake.score(CHAMPION, "champion", rescore="run 2").rows_new == 10
    plan = plan_table(
        str(lake.root / "input"), CHAMPION, output_table=str(lake.root / "champion"),
        model_loader=ModelLoader(lake.root), rescore="run 3",
    )  # fmt: skip
    assert sum(shard.rows for shard in plan.new) == 10


def test_going_back_to_a_model_takes_what_was_scored_again_with_it(lake):  # noqa: F811
    """Not the parts before the request, which may have been wrong."""
    lake.score(CHAMPION, "champion")
    lake.score(CHAMPION, "champion", rescore="run 1")
    wanted = DeltaTable(str(lake.root / "champion")).file_uris()
    lake.score(CHALLENGER, "champion")
    back = lake.score(CHAMPION, "champion")
    assert (back.rows_new, DeltaTable(str(lake.root / "champion")).file_uris()) == (0, wanted)


def test_new_rows_after_a_request_are_scored_alone(lake):  # noqa: F811
    lake.score(CHAMPION, "champion", rescore="run 1")
    lake.write("b", range(10, 14))
    assert lake.score(CHAMPION, "champion").rows_new == 4


def test_one_partition_is_scored_again_without_the_others(lake):  # noqa: F811
    for day in (3, 4):
        lake.score(CHAMPION, "champion", partition={"id": day})
    before = parts(lake.root / "champion" / "id=4")
    assert lake.score(CHAMPION, "champion", partition={"id": 3}, rescore="run 1").rows_new == 1
    for day in (3, 4):
        assert not lake.score(CHAMPION, "champion", partition={"id": day}).changed
    assert parts(lake.root / "champion" / "id=4") == before


def test_requests_are_few_enough_for_every_commit_to_list_them(monkeypatch):
    monkeypatch.setattr(rescoring, "MOST_REQUESTS", 2)
    requests = Rescoring(request="run 1")
    for model in ("a", "b"):
        requests.digest(model * 64)
    assert len(json.loads(requests.metadata({})["rescored"])) == 2
    with pytest.raises(TaskError, match="change the task's code_version instead"):
        requests.digest("c" * 64)


def test_two_runs_at_the_same_time_may_score_different_partitions_again(lake):  # noqa: F811
    """The commit that comes second records both requests; else the next run would go back to the first parts."""
    for day in (3, 4):
        lake.score(CHAMPION, "champion", partition={"id": day})
    before = parts(lake.root / "champion")
    raced = []

    def race(_):
        if not raced:
            raced.append(lake.score(CHAMPION, "champion", partition={"id": 4}, rescore="run 2"))

    lake.score(CHAMPION, "champion", partition={"id": 3}, rescore="run 1", audit=race)
    wanted = DeltaTable(str(lake.root / "champion")).file_uris()
    assert not any(name in uri for uri in wanted for name in before)
    for day in (3, 4):
        assert not lake.score(CHAMPION, "champion", partition={"id": day}).changed


@pytest.mark.promise("O104")
def test_a_promotion_takes_over_what_the_challenger_has_scored_again(lake):  # noqa: F811
    """Not the challenger's parts before the request, which lie in its folder still."""
    lake.score(CHALLENGER, "challenger")
    lake.score(CHALLENGER, "challenger", rescore="run 1")
    for _ in range(2):
        report = lake.score(promote(CHAMPION, CHALLENGER), "champion", "challenger")
        assert report.rows_new == 0
        names = [
            {Path(uri).name for uri in DeltaTable(str(lake.root / table)).file_uris()}
            for table in ("champion", "challenger")
        ]
        assert names[0] == names[1]
        lake.score(CHALLENGER, "challenger", rescore="run 2")


def test_a_damaged_log_of_another_table_holds_nothing_up(lake, caplog):  # noqa: F811
    lake.score(CHALLENGER, "challenger")
    (lake.root / "challenger" / "_delta_log" / f"{0:020}.json").write_text("{")
    assert lake.score(promote(CHAMPION, CHALLENGER), "champion", "challenger").rows_new in (0, 10)
    assert "has nothing to give" in caplog.text
