"""Progress while shards are at work, told by files alone; and the worker's own code with two attempts at once. No JVM."""

import dataclasses
import io
import re
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lone_files import lone_file

from sparktorch_assets.lake.commit_plan import commit_plan
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.job import rows_hint
from sparktorch_assets.spark.score.job.rows_hint import RowsHint, read_hint
from sparktorch_assets.spark.score.job.worker import ScoreJob, pack, score_pack
from sparktorch_assets.spark.score.plan.planned import Selection, plan_refresh
from sparktorch_assets.spark.score.progress.progress import ProgressWatch
from sparktorch_assets.spark.score.progress.progress_bar import ProgressBar
from sparktorch_assets.spark.score.report.report import Progress
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, SlotPolicy

TASK = MlTask(
    name="t",
    input="source",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)


@pytest.fixture
def planned(tmp_path):
    """A plan of two shards of 200,000 rows, and the job that carries it out."""
    (tmp_path / "source").mkdir()
    for name in ("one", "two"):
        pq.write_table(pa.table({"x": np.ones(200_000)}), tmp_path / "source" / f"{name}.parquet")
    loader = ModelLoader(tmp_path)
    planned = plan_refresh(
        str(tmp_path / "source"),
        TASK,
        lambda _: [Selection()],
        output_table=str(tmp_path / "table"),
        model_loader=loader,
    )
    plan = planned.plans[0]
    (tmp_path / "table").mkdir()
    job = ScoreJob(
        task=planned.task, model_loader=loader, slots=SlotPolicy(device="cpu"), batch_size=None, concurrent_slots=1,
        output_table=plan.table.uri, read_schema=planned.read_schema, schema=plan.part_schema,
        files_digest=planned.files_digest, code=planned.code,
        packs=(pack(plan.new),),
    )  # fmt: skip
    return plan, job


def test_rows_count_while_their_shard_is_at_work(planned, tmp_path, monkeypatch):
    """Batch by batch, though rows come out in windows of several; never backwards, and nothing is left when the parts are
    there."""
    plan, job = planned
    job = dataclasses.replace(job, batch_size=10_000)  # 60,000 rows are encoded at once
    watch = ProgressWatch([plan], lambda _: None)
    seen, tell = [0], RowsHint.tell

    def told(self, rows):
        tell(self, rows)
        seen.append(watch.rows_done())

    monkeypatch.setattr(rows_hint, "INTERVAL_S", 0.0)
    monkeypatch.setattr(RowsHint, "tell", told)
    results = list(score_pack(job, 0))
    assert len(results) == 2
    assert seen == sorted(seen)
    assert set(seen) >= set(range(0, 400_000, 10_000))
    assert watch.rows_done() == 400_000
    assert not list((tmp_path / "table").glob(".*"))


def test_rows_count_once_while_a_part_waits_for_the_disk(planned, monkeypatch):
    """The rows of the next shard are told by its own hint alone."""
    plan, job = planned
    job = dataclasses.replace(job, batch_size=10_000)
    watch = ProgressWatch([plan], lambda _: None)
    seen, tell, publish, second = [0], RowsHint.tell, PartWriter.publish, threading.Event()

    def told(self, rows):
        tell(self, rows)
        seen.append(watch.rows_done())
        if seen[-1] >= 390_000:
            second.set()

    def slow(self):
        second.wait(20)
        return publish(self)

    monkeypatch.setattr(rows_hint, "INTERVAL_S", 0.0)
    monkeypatch.setattr(RowsHint, "tell", told)
    monkeypatch.setattr(PartWriter, "publish", slow)
    assert len(list(score_pack(job, 0))) == 2
    assert seen == sorted(seen)
    assert set(seen) >= set(range(0, 400_000, 10_000))


def test_rows_beyond_a_small_shard_count_too(tmp_path, monkeypatch):
    """A window takes in many small shards: while its batches are predicted, progress does not stop at the first of them."""
    (tmp_path / "source").mkdir()
    for name in range(40):
        pq.write_table(pa.table({"x": np.ones(100)}), tmp_path / "source" / lone_file(str(name)))
    loader = ModelLoader(tmp_path)
    planned = plan_refresh(
        str(tmp_path / "source"),
        TASK,
        lambda _: [Selection()],
        output_table=str(tmp_path / "table"),
        model_loader=loader,
    )
    plan = planned.plans[0]
    (tmp_path / "table").mkdir()
    job = ScoreJob(
        task=planned.task, model_loader=loader, slots=SlotPolicy(device="cpu"), batch_size=500, concurrent_slots=1,
        output_table=plan.table.uri, read_schema=planned.read_schema, schema=plan.part_schema,
        files_digest=planned.files_digest, code=planned.code, packs=(pack(plan.new),),
    )  # fmt: skip
    watch, seen, tell = ProgressWatch([plan], None), [0], RowsHint.tell

    def told(self, rows):
        tell(self, rows)
        seen.append(watch.rows_done())

    monkeypatch.setattr(rows_hint, "INTERVAL_S", 0.0)
    monkeypatch.setattr(RowsHint, "tell", told)
    assert len(list(score_pack(job, 0))) == 40
    assert seen == sorted(seen)
    assert set(range(0, 4_000, 500)) <= set(seen)
    assert watch.rows_done() == 4_000


def test_a_hint_that_was_cleared_tells_no_more(planned):
    """The thread that predicts may come late: nothing is left beside the finished part."""
    plan, _ = planned
    hint = RowsHint(Folder(plan.table.uri), plan.new[0].part_path, interval_s=0.0)
    hint.tell(5)
    hint.clear()
    hint.tell(7)
    assert ProgressWatch([plan], None).rows_done() == 0


def test_hints_of_a_killed_worker_are_vacuumed_and_counted_once(planned, tmp_path):
    plan, job = planned
    part = plan.new[0].part_path
    for rows in (70, 50):  # two attempts at one shard
        RowsHint(Folder(plan.table.uri), part, interval_s=0.0).tell(rows)
    RowsHint(Folder(plan.table.uri), "part-" + "0" * 32 + ".parquet", interval_s=0.0).tell(5)  # not in this plan
    assert ProgressWatch([plan], None).rows_done() == 70
    parts = {result.part.path: (result.part, result.receipt) for result in score_pack(job, 0)}
    commit_plan(plan, parts, lambda _: None, {})
    assert len(vacuum(plan.table.uri, retention_hours=0).files) == 3
    assert read_hint(part) is None


def test_two_attempts_at_the_same_pack_end_with_one_part_each(planned, tmp_path):
    """What Spark's speculation does: the same task, twice at once, in two processes' worth of writers."""
    plan, job = planned
    found = []
    attempts = [threading.Thread(target=lambda: found.append(list(score_pack(job, 0)))) for _ in range(2)]
    for attempt in attempts:
        attempt.start()
    for attempt in attempts:
        attempt.join()
    assert len(found) == 2
    assert [result.part for result in found[0]] == [result.part for result in found[1]]
    assert sorted(path.name for path in (tmp_path / "table").iterdir()) == sorted(plan.target)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_and_silence_elsewhere(planned, monkeypatch):
    plan, job = planned
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        monkeypatch.setattr("sys.stderr", stream)
        with ProgressWatch([plan], None, interval_s=0.01):
            list(score_pack(job, 0))
    lines = terminal.getvalue().split("\r\033[K")
    assert re.fullmatch(r"█{30} 100% of 400,000 rows, [\d,]+ rows/s, 0 s left\n", lines[-1])
    assert pipe.getvalue() == ""


def test_a_bar_shows_share_speed_and_time_left():
    terminal = Terminal()
    bar = ProgressBar(terminal)
    bar(Progress(rows_done=25, rows_total=100, rows_per_s=5.0, eta_s=15.0))
    bar.close()
    assert terminal.getvalue() == "\r\033[K" + "█" * 7 + "░" * 23 + " 25% of 100 rows, 5 rows/s, 15 s left\n"


def test_a_callback_takes_the_place_of_the_bar(planned, monkeypatch):
    plan, _ = planned
    terminal, seen = Terminal(), []
    monkeypatch.setattr("sys.stderr", terminal)
    with ProgressWatch([plan], seen.append):
        pass
    assert (len(seen), seen[0].rows_total) == (1, 400_000)
    assert terminal.getvalue() == ""
