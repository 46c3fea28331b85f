"""A promotion in `score_table`: the challenger's predictions under the champion's name, and nothing is scored."""

import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from lone_files import lone_file

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, SlotPolicy, promote

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
from fake_session import FakeSession

sys.path.pop(0)

ECHO = ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"})
CHAMPION = MlTask(name="champion", model=ECHO, features=[NumericFeature(columns=["x"])], labels=["no", "yes"])
CHALLENGER = replace(CHAMPION, name="challenger", labels=["yes", "no"], keep_columns=["id"])


class Lake:
    def __init__(self, root: Path):
        self.root, self.session = root, FakeSession()
        (root / "input").mkdir()
        self.write("a", range(10))

    def write(self, name: str, ids):
        rows = {"id": list(ids), "x": [1.0 if number % 2 else -1.0 for number in ids]}
        pq.write_table(pa.table(rows), self.root / "input" / lone_file(name))

    def score(self, task: MlTask, table: str, *adopt_from: str, **given):
        return score_table(
            self.session, str(self.root / "input"), task, output_table=str(self.root / table),
            model_loader=ModelLoader(self.root), slots=SlotPolicy(device="cpu"), on_progress=lambda _: None,
            adopt_from=[str(self.root / other) for other in adopt_from], **given,
        )  # fmt: skip

    def rows(self, table: str, version: int | None = None):
        found = DeltaTable(str(self.root / table), version=version).to_pyarrow_table()
        return sorted(found.to_pylist(), key=lambda row: row["id"])


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


@pytest.mark.promise("O104", "O105")
def test_a_promotion_scores_no_row_and_keeps_the_history(lake):
    old = lake.score(CHAMPION, "champion")
    lake.score(CHALLENGER, "challenger")
    jobs = lake.session.jobs
    report = lake.score(promote(CHAMPION, CHALLENGER), "champion", "challenger")
    assert (report.shards_new, report.rows_new, report.shards_resumed, report.shards_removed) == (0, 0, 1, 1)
    assert (report.changed, report.rows_table, lake.session.jobs) == (True, 10, jobs)
    assert lake.rows("champion") == lake.rows("challenger")
    assert lake.rows("champion", version=old.version)[0].keys() == {
        "id",
        "x",
        "predicted_class",
        "confidence",
        "prediction_error",
    }
    back = lake.score(CHAMPION, "champion", "challenger")
    assert (back.rows_new, lake.session.jobs) == (0, jobs)
    assert lake.rows("champion") == lake.rows("champion", version=old.version)


@pytest.mark.promise("O104")
def test_only_what_the_challenger_has_not_scored_is_scored(lake):
    lake.score(CHALLENGER, "challenger")
    lake.write("b", range(10, 14))
    report = lake.score(promote(CHAMPION, CHALLENGER), "champion", "challenger")
    assert (report.shards_new, report.rows_new, report.shards_resumed) == (1, 4, 1)
    lake.score(CHALLENGER, "challenger", "champion")
    assert lake.rows("champion") == lake.rows("challenger")


@pytest.mark.promise("O109")
def test_new_weights_that_a_challenger_has_tried_are_promoted_in_the_same_way(lake):
    """The champion's own line changes: the tasks are then equal but for their names."""
    lake.score(CHAMPION, "champion")
    tried = replace(CHAMPION, name="challenger", model=replace(ECHO, arguments={"network": "Echo", "classes": 2}))
    lake.score(tried, "challenger")
    report = lake.score(replace(tried, name="champion"), "champion", "challenger")
    assert (report.rows_new, report.shards_resumed) == (0, 1)


@pytest.mark.promise("O104")
def test_a_partition_is_promoted_alone(lake):
    for task in (CHAMPION, CHALLENGER):
        for day in (3, 4):
            lake.score(task, task.name, partition={"id": day})
    before = lake.rows("champion")
    report = lake.score(
        replace(CHAMPION, labels=["yes", "no"], keep_columns=None), "champion", "challenger", partition={"id": 3}
    )
    assert report.rows_new == 1  # other kept columns: no part of the challenger's has that name
    jobs = lake.session.jobs
    same = replace(CHALLENGER, name="champion")
    assert lake.score(same, "other", "challenger", partition={"id": 4}).rows_new == 0
    assert lake.session.jobs == jobs
    assert len(before) == 2
    assert lake.rows("other") == [row for row in lake.rows("challenger") if row["id"] == 4]
