"""The first run of a table with a slow model: it finds out what a row costs, and cuts the table so that all slots have work,
now and in every later run."""

import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from sparktorch_assets.errors import AuditFailedError
from sparktorch_assets.lake.shard_rows import SHARD_ROWS_KEY
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.job.row_cost import ShardSeconds
from sparktorch_assets.spark.score.plan.adopted import plan_adopted
from sparktorch_assets.spark.score.plan.planned import plan_refresh, selections
from sparktorch_assets.spark.score.refresh import refresh
from sparktorch_assets.spark.score.run_options import RunOptions
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, RowFilter, SlotPolicy, promote

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_session import FakeSession

sys.path.pop(0)

SLOW_S = 0.0002
AIM = ShardSeconds(least=0.05, most=1.0, too_long=0.3, watched=0.05)
"""As in production, in less time."""
TASK = MlTask(
    name="slow",
    model=ModelSpec(factory="score_nets:sleeps", arguments={"seconds_per_row": SLOW_S}),
    features=[NumericFeature(columns=["x"])],
    labels=["no", "yes"],
)


def taking(seconds_per_row: float) -> MlTask:
    return replace(TASK, model=replace(TASK.model, arguments={"seconds_per_row": seconds_per_row}))


class Lake:
    def __init__(self, root: Path, session=None):
        self.root, self.session = root, session or FakeSession(slots=6)
        self.progress = []
        (root / "input").mkdir()

    def write(self, name: str, rows: int, days: int = 1):
        ids = range(rows)
        columns = {"id": list(ids), "x": [float(n if n % 2 else -n) for n in ids], "day": [n % days for n in ids]}
        pq.write_table(pa.table(columns), self.root / "input" / f"{name}.parquet", row_group_size=rows)

    def plan(self, task=TASK, table="table", *, rescore="", partitions=({},), adopt_from=()):
        others = [str(self.root / other) for other in adopt_from]
        plan = partial(
            plan_refresh, str(self.root / "input"), task, partial(selections, partitions),
            output_table=str(self.root / table), model_loader=ModelLoader(self.root), rescore=rescore,
            adopt_from=others,
        )  # fmt: skip
        return plan_adopted(plan, others)

    def score(self, task=TASK, table="table", *, aim=AIM, audit=None, **given):
        return self.carry_out(self.plan(task, table, **given), aim=aim, audit=audit)

    def carry_out(self, planned, aim=AIM, audit=None):
        options = RunOptions(
            slots=SlotPolicy(device="cpu"), batch_size=50, run_id="r", on_progress=self.progress.append, audit=audit,
            shard_seconds=aim,
        )  # fmt: skip
        done = refresh(self.session, planned, options, time.perf_counter())
        for refused in done.refused.values():
            raise refused
        reports = tuple(done.reports.values())
        return reports[0] if len(reports) == 1 else reports

    def parts(self, table="table"):
        return set(Table(str(self.root / table)).snapshot.parts)

    def numbers(self, table="table"):
        return list(json.loads(Table(str(self.root / table)).metadata[SHARD_ROWS_KEY]).values())

    def rows(self, table="table"):
        found = DeltaTable(str(self.root / table)).to_pyarrow_table().to_pylist()
        return sorted((row["id"], row["predicted_class"]) for row in found)


def expected(rows: int):
    return [(n, "yes" if n % 2 else "no") for n in range(rows)]


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


@pytest.mark.promise("T137", "O192")
def test_one_row_group_keeps_all_slots_busy_from_the_first_run_on(lake):
    lake.write("a", 4000)
    report = lake.score()
    assert lake.session.jobs == 2
    assert report.shards_new >= 2 * lake.session.sparkContext.defaultParallelism
    assert (report.rows_new, report.rows_in, report.rows_table, report.shards_resumed) == (4000, 4000, 4000, 0)
    assert report.run_tally.predicted == report.scoring.rows == 4000
    assert lake.rows() == expected(4000)
    assert report.seconds["score"] >= 4000 * SLOW_S
    assert lake.progress[-1].rows_done == lake.progress[-1].rows_total == 4000
    assert not lake.score().changed
    assert not [path for path in (lake.root / "table").iterdir() if path.name.endswith(".tmp")]


@pytest.mark.promise("T137")
def test_the_cut_stays_whatever_was_deleted(lake):
    """Of two first runs of the table, the second one plans the parts of the first, and measures nothing."""
    lake.write("a", 4000)
    lake.score()
    parts = lake.parts()
    for path in [*(lake.root / "table").glob("*.parquet"), *(lake.root / "table" / "_delta_log").iterdir()]:
        path.unlink()
    (lake.root / "table" / "_delta_log").rmdir()
    assert len(lake.plan().plans[0].new) == len(parts)
    jobs = lake.session.jobs
    report = lake.score()
    assert (lake.parts(), report.rows_new, lake.session.jobs) == (parts, 4000, jobs + 1)


@pytest.mark.promise("O190")
def test_a_model_that_is_not_slow_pays_nothing(lake):
    lake.write("a", 4000)
    task = taking(0.0)
    before = {shard.part_path for shard in lake.plan(task).plans[0].new}
    report = lake.score(task, aim=ShardSeconds())
    assert (lake.session.jobs, report.shards_new, lake.numbers()) == (1, 1, [None])
    assert lake.parts() == before
    assert not list((lake.root / "table").glob("_shard_rows*"))
    # It has been decided: slower rows that come later change no part of those that are there.
    lake.write("b", 6000)
    assert lake.score(task, aim=replace(AIM, too_long=0.0, watched=0.0)).shards_unchanged == 1


@pytest.mark.promise("T138")
def test_a_run_that_was_killed_goes_on_with_its_cut(lake, monkeypatch):
    """After the number was settled, no finished shard is scored twice."""
    lake.write("a", 4000)
    seen = lake.root / "seen.txt"
    monkeypatch.setenv("SEEN_ROWS", str(seen))
    run, done = lake.session.run, []

    def killed(pickled, end):
        if lake.session.jobs == 0:
            return run(pickled, end)
        seen.unlink()
        done.extend(run(pickled, 5))
        raise KeyboardInterrupt

    lake.session.run = killed
    with pytest.raises(KeyboardInterrupt):
        lake.score()
    lake.session.run = run
    assert len(done) == 5
    report = lake.score()
    assert (report.shards_resumed, report.shards_new + 5) == (5, len(lake.parts()))
    times = Counter(seen.read_text().split())
    assert set(times.values()) == {1}
    assert len(times) == 4000
    assert lake.rows() == expected(4000)


@pytest.mark.promise("T138")
def test_two_first_runs_cut_alike(lake):
    """Whatever they measure, and although both were planned before either of them had."""
    lake.write("a", 4000)
    one, other = lake.plan(), lake.plan()
    lake.carry_out(one)
    parts = lake.parts()
    report = lake.carry_out(other, aim=replace(AIM, least=0.2))
    assert (lake.parts(), report.changed, report.rows_new) == (parts, False, 0)
    assert not lake.score().changed


@pytest.mark.promise("O192")
def test_finished_shards_that_keep_their_names_are_scored_once(lake, monkeypatch):
    """A few rows with much in them come first, since shards are dealt by their bytes."""
    lake.write("a", 4000)
    rows = {
        "id": range(10_000, 10_100),
        "x": [1.0] * 100,
        "day": [0] * 100,
        "pad": [f"{n}" * 20_000 for n in range(100)],
    }
    pq.write_table(pa.table({name: list(values) for name, values in rows.items()}), lake.root / "input" / "b.parquet")
    seen = lake.root / "seen.txt"
    monkeypatch.setenv("SEEN_ROWS", str(seen))
    task = replace(TASK, keep_columns=["id"])
    report = lake.score(task)
    assert lake.session.jobs == 2
    assert (report.rows_new, report.shards_resumed, report.run_tally.predicted) == (4100, 0, 4100)
    assert report.shards_new == len(lake.parts())
    assert seen.read_text().split().count("1") == 100 + 2  # and the second row of `a`, in both jobs
    assert not lake.score(task).changed


def test_every_commit_carries_the_numbers_of_other_models_too(lake):
    lake.write("a", 4000)
    lake.score()
    parts = lake.parts()
    assert lake.score(taking(0.0), aim=ShardSeconds()).changed
    assert len(lake.numbers()) == 2
    back = lake.score()
    assert (back.rows_new, lake.parts()) == (0, parts)


def test_a_refused_commit_loses_nothing(lake):
    lake.write("a", 4000)

    def refuse(publication):
        raise AuditFailedError("refused", outcomes=())

    with pytest.raises(AuditFailedError):
        lake.score(audit=refuse)
    jobs = lake.session.jobs
    report = lake.score()
    assert (report.rows_new, report.changed, lake.session.jobs) == (0, True, jobs)
    assert lake.numbers()[0] is not None


def forget_numbers(table: Path):
    """Make the table one of an earlier version, whose commits have no numbers."""
    for commit in (table / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in commit.read_text().splitlines()]
        for action in actions:
            action.get("commitInfo", {}).pop(f"sparktorch_assets.{SHARD_ROWS_KEY}", None)
        commit.write_text("\n".join(map(json.dumps, actions)))


@pytest.mark.promise("T139")
def test_a_table_of_an_earlier_version_keeps_its_parts_until_all_rows_are_scored_again(lake):
    lake.write("a", 4000)
    lake.score(aim=replace(AIM, too_long=1000.0))
    forget_numbers(lake.root / "table")
    (part,) = lake.parts()
    assert not lake.score().changed
    lake.write("b", 3000)
    assert (lake.score().shards_new, part in lake.parts()) == (1, True)
    forget_numbers(lake.root / "table")
    run = lake.session.run

    def killed(pickled, end):
        if lake.session.jobs > 2:  # the one that scores the rows, once their cost is known
            raise KeyboardInterrupt
        return run(pickled, end)

    lake.session.run = killed
    with pytest.raises(KeyboardInterrupt):
        lake.score(rescore="all")
    lake.session.run = run
    assert not lake.score().changed
    report = lake.score(rescore="all")
    assert (report.rows_new, report.shards_removed) == (7000, 2)
    assert report.shards_new >= 12
    assert lake.rows() == sorted(expected(4000) + expected(3000))
    assert not lake.score().changed


@pytest.mark.promise("O193")
def test_slots_without_work_are_explained_until_the_table_is_cut_anew(lake, caplog):
    lake.write("a", 3000)
    lake.score(aim=replace(AIM, too_long=1000.0))
    assert not caplog.records
    lake.write("b", 3000)
    lake.score()
    (said,) = [record.getMessage() for record in caplog.records]
    assert "1 of 6 slots had work" in said
    assert "b.parquet" in said
    assert "3,000 rows" in said
    assert "full_rescore" in said
    caplog.clear()
    lake.score(rescore="all")
    lake.write("c", 100)
    lake.score()
    assert not caplog.records


@pytest.mark.promise("T139")
def test_partitions_share_one_number(lake):
    """It is measured for the first of them, and neither a later one nor a request to score one again changes it."""
    lake.write("a", 6000, days=2)
    first = lake.score(partitions=[{"day": "0"}])
    assert first.shards_new > 6
    (number,) = lake.numbers()
    jobs = lake.session.jobs
    lake.score(partitions=[{"day": "1"}])
    assert (lake.session.jobs, lake.numbers()) == (jobs + 1, [number])
    kept = lake.parts()
    eager = ShardSeconds(least=0.001, too_long=0.001, watched=0.0)
    lake.score(partitions=[{"day": "1"}], rescore="one", aim=eager)
    assert (lake.session.jobs, set(lake.numbers())) == (jobs + 2, {number})
    assert len(lake.parts() & kept) == first.shards_new
    assert not any(report.changed for report in lake.score(partitions=[{"day": "0"}, {"day": "1"}]))
    assert lake.rows() == expected(6000)
    # Another model has a number of its own, found with its first partition.
    lake.score(taking(SLOW_S * 8), partitions=[{"day": "1"}])
    assert lake.session.jobs == jobs + 4
    assert lake.numbers()[-1] < number


@pytest.mark.promise("O191")
def test_a_promotion_scores_nothing_although_the_tables_are_cut_differently(lake):
    lake.write("a", 4000)
    champion = replace(taking(0.0), name="champion")
    lake.score(champion, "champion", aim=ShardSeconds())
    challenger = replace(TASK, name="challenger", keep_columns=["id"])
    lake.score(challenger, "challenger")
    jobs = lake.session.jobs
    promoted = promote(champion, challenger)
    report = lake.score(promoted, "champion", adopt_from=["challenger"])
    assert (report.rows_new, report.shards_resumed, lake.session.jobs) == (0, len(lake.parts("challenger")), jobs)
    assert lake.rows("champion") == lake.rows("challenger")
    assert not lake.score(promoted, "champion").changed
    assert lake.numbers("champion") == [None, *lake.numbers("challenger")]
    assert lake.score(champion, "champion").rows_new == 0


def test_a_vacuum_leaves_the_number(lake):
    lake.write("a", 4000)
    lake.score()
    files = list((lake.root / "table").glob("_shard_rows*"))
    assert len(files) == 1
    for file in (lake.root / "table").rglob("*"):
        os.utime(file, (0, 0))
    vacuum(str(lake.root / "table"), retention_hours=0)
    assert list((lake.root / "table").glob("_shard_rows*")) == files


def test_filtered_rows_make_larger_shards(lake):
    """Nine in ten rows are left out: the others are what takes time."""
    lake.write("a", 8000, days=10)
    report = lake.score(replace(taking(0.002), where=[RowFilter(column="day", op="==", value=0)]))
    assert lake.numbers()[0] >= 128  # of rows that all take 2 ms, it would be 64, a batch's worth
    assert (report.rows_table, report.tally.filtered) == (800, 7200)


@pytest.mark.promise("O194")
def test_equal_rows_that_are_predicted_once_tell_nothing_of_the_others(lake):
    lake.write("a", 4000)
    lake.score(replace(TASK, batch=replace(TASK.batch, deduplicate=True)))
    assert (lake.session.jobs, lake.numbers()) == (1, [None])


@pytest.mark.promise("T137")
def test_spark_cuts_a_slow_table_in_its_first_run(spark, tmp_path):
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("score_nets.py")))
    lake = Lake(tmp_path, spark)
    lake.write("a", 4000)
    report = lake.score(taking(0.0005))
    assert report.shards_new >= 4
    assert report.rows_new == 4000
    assert lake.rows() == expected(4000)
    assert not lake.score(taking(0.0005)).changed
