"""Partitions are scored in one job and published in one commit; one that is refused holds back no other one."""

import dataclasses
import datetime as dt
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from fake_session import FakeSession
from lone_files import lone_file

from sparktorch_assets.errors import (
    CommitConflictError,
    PartitionsRefusedError,
    TableError,
    TaskError,
    TooManyFailedRowsError,
)
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.table import Table, data_version
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score import refresh as refresh_module
from sparktorch_assets.spark.score.partitions import plan_partitions, score_partitions
from sparktorch_assets.spark.score.plan.planned import Selection
from sparktorch_assets.spark.score.table import plan_table, score_table
from sparktorch_assets.tasks import ClassificationOutput, MlTask, ModelSpec, NumericFeature, RowFilter
from sparktorch_assets.tasks.code.imported_code import DECLARED
from sparktorch_assets.tasks.digest import digest_of, files_digest, model_digest, task_digest
from sparktorch_assets.tasks.partitions import StaticPartitions, TablePartition, TimePartitions

TASK = MlTask(
    name="sign",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["below", "above"],
    keep_columns=["id", "x"],
)
MONTHS = ("2013-01-01", "2013-02-01", "2013-03-01")
BY_MONTH = TimePartitions(by="month", column="at", start="2013-01-01")


def no_session():
    raise AssertionError("a session was asked for")


class World:
    """A folder of rows with a time, and a table of their predictions."""

    def __init__(self, root: Path) -> None:
        self.root, self.source, self.table = root, root / "source", root / "table"
        self.source.mkdir()
        self.session = FakeSession()
        self.ids = 0

    def write(self, name, *months, each=4, group_rows=2, x=None):
        """A file with rows of these months (1 is January of 2013; `None` is no time), in this order."""
        rows = {"id": [], "at": [], "x": [], "region": []}
        for month in months:
            for day in range(each):
                rows["id"].append(self.ids)
                rows["at"].append(month and dt.datetime(2013, month, 1 + 7 * day, tzinfo=dt.UTC))
                rows["x"].append((-1.0) ** self.ids if x is None else x)
                rows["region"].append("north" if day % 2 else "south")
                self.ids += 1
        table = pa.table(rows, pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("x", pa.float64()), ("region", pa.string())]))  # fmt: skip
        pq.write_table(table, self.source / lone_file(name), row_group_size=group_rows)

    def columns(self):
        return {column.name: str(column.type) for column in Table(str(self.source)).schema}

    def months(self, *keys, by=BY_MONTH):
        return by.table_partitions(keys or MONTHS, self.columns(), "task 't'")

    def arguments(self, **given):
        return {"output_table": str(self.table), "model_loader": ModelLoader(self.root, device="cpu"), **given}

    def score(self, partitions=None, task=TASK, session=None, **given):
        given = self.arguments(partitions=self.months() if partitions is None else partitions, **given)
        return score_partitions(session or self.session, str(self.source), task, **given)

    def plan(self, partitions=None, task=TASK):
        given = self.arguments(partitions=self.months() if partitions is None else partitions)
        return plan_partitions(str(self.source), task, **given)

    def rows(self):
        return sorted(DeltaTable(str(self.table)).to_pyarrow_table().to_pylist(), key=lambda row: row["id"])

    def expected(self, *months):
        rows = pq.ParquetDataset(self.source).read().to_pylist()
        return [
            (row["id"], f"2013-{row['at'].month:02}-01", "above" if row["x"] > 0 else "below")
            for row in sorted(rows, key=lambda row: row["id"])
            if row["at"] and row["at"].month in months
        ]

    def check(self, *months):
        found = [(row["id"], row["at_month"], row["predicted_class"]) for row in self.rows()]
        assert found == self.expected(*months)


@pytest.fixture
def world(tmp_path):
    """Two files: one in the order of time, with a row group for each fortnight, and one in no order, with other rows."""
    world = World(tmp_path)
    world.write("sorted", 1, 2, 3, 4)
    world.write("mixed", 3, None, 1, 2, 3, each=1, group_rows=5)
    return world


@pytest.mark.promise("T122", "T123", "T126")
def test_all_partitions_are_scored_in_one_job_and_published_in_one_commit(world):
    """Each has its own rows, in a column that is added; rows outside all of them are nowhere."""
    reports = world.score()
    world.check(1, 2, 3)
    assert (world.session.jobs, Table(str(world.table)).version) == (1, 0)
    assert DeltaTable(str(world.table)).metadata().partition_columns == ["at_month"]
    assert [report.partition for report in reports] == [(("at_month", month),) for month in MONTHS]
    assert [(report.rows_in, report.rows_table) for report in reports] == [(5, 5), (5, 5), (6, 6)]
    assert [(report.tally.filtered, report.tally.outside) for report in reports] == [(0, 16), (0, 16), (0, 15)]
    assert [report.shards_new for report in reports] == [2, 2, 2]

    version = data_version(str(world.table))
    again = world.score(session=no_session)
    assert [report.changed for report in again] == [False] * 3
    assert [report.data_version for report in again] == [report.data_version for report in reports]
    assert [report.tally for report in again] == [report.tally for report in reports]
    assert (data_version(str(world.table)), Table(str(world.table)).version) == (version, 0)

    world.write("late", 2, each=1)
    third = world.score()
    assert [(report.changed, report.shards_new) for report in third] == [(False, 0), (True, 1), (False, 0)]
    assert Table(str(world.table)).version == 1
    world.check(1, 2, 3)


@pytest.mark.promise("T123")
def test_rows_of_other_partitions_are_told_from_rows_that_where_leaves_out(world):
    """Also where bounds alone show that `where` excludes a row group: rows of several months may be in it."""
    task = dataclasses.replace(TASK, where=[RowFilter(column="id", op="<", value=10)])
    reports = world.score(task=task)
    passing = {month: sum(row[1] == month and row[0] < 10 for row in world.expected(1, 2, 3)) for month in MONTHS}
    assert passing == {"2013-01-01": 4, "2013-02-01": 4, "2013-03-01": 2}
    assert [report.tally.predicted for report in reports] == [*passing.values()]
    assert [(report.rows_in, report.tally.filtered) for report in reports] == [(5, 1), (5, 1), (6, 4)]
    for report in reports:
        assert report.rows_in == report.tally.filtered + report.tally.rows


@pytest.mark.promise("T133")
def test_row_groups_of_other_partitions_are_not_read(world, monkeypatch):
    """Nor are files planned that have no others."""
    (shard,) = world.plan(world.months("2013-04-01")).plans["2013-04-01"].new
    assert [piece.file.path for piece in shard.pieces] == [lone_file("sorted")]
    read, groups = [], pq.ParquetFile.iter_batches

    def iter_batches(self, *given, **named):
        read.append(named["row_groups"])
        return groups(self, *given, **named)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    world.score(world.months("2013-01-01", "2013-04-01"))
    assert sorted(read) == [[0], [0, 1], [6, 7]]


@pytest.mark.promise("T124")
def test_a_refused_partition_holds_back_no_other(world):
    """Its parts stay, and are published as they are once they are allowed."""
    world.write("broken", 2, 2, x=float("nan"))
    world.score(world.months("2013-01-01"))
    strict = dataclasses.replace(TASK, max_failed_rows=0)
    with pytest.raises(PartitionsRefusedError, match=r"1 of 3 partitions of .* were refused") as caught:
        world.score(task=strict, run_id="r")
    world.check(1, 3)
    assert Table(str(world.table)).version == 1
    assert "2013-02-01: task 'sign'" in str(caught.value)
    (refused,) = caught.value.refused.items()
    assert (refused[0], type(refused[1])) == ("2013-02-01", TooManyFailedRowsError)
    assert [report.partition[0][1] for report in caught.value.published] == ["2013-01-01", "2013-03-01"]
    assert [report.changed for report in caught.value.published] == [False, True]

    reports = world.score(
        task=dataclasses.replace(strict, max_failed_rows=None, max_failed_share=1.0), session=no_session
    )
    assert [(report.shards_new, report.shards_resumed) for report in reports] == [(0, 0), (0, 3), (0, 0)]
    assert len(world.rows()) == 5 + 5 + 8 + 6


@pytest.mark.promise("T121", "T124")
def test_an_audit_looks_at_each_partition(world):
    seen = []

    def audit(publication):
        seen.append(publication)
        if publication.partition != (("at_month", "2013-03-01"),):
            raise TableError("not before the audit of the year")

    with pytest.raises(PartitionsRefusedError, match="2 of 3 partitions") as caught:
        world.score(audit=audit)
    assert [publication.rows_in for publication in seen] == [5, 5, 6]
    assert all(sum(part.rows for part in publication.parts.values()) == publication.rows_in for publication in seen)
    assert list(caught.value.refused) == list(MONTHS[:2])
    world.check(3)
    with pytest.raises(PartitionsRefusedError, match="Nothing was published"):
        world.score(world.months(*MONTHS[:2]), audit=audit, session=no_session)
    with pytest.raises(TableError, match="not before the audit of the year"):  # a single one: its own error
        score_table(world.session, str(world.source), TASK, **world.arguments(partition={"region": "north"}, audit=audit, output_table=str(world.root / "other")))  # fmt: skip


@pytest.mark.promise("T127")
def test_a_conflict_in_one_partition_costs_that_one_alone(world, monkeypatch):
    """Another run refreshes February to something else between our scoring and our commit; and April to anything."""
    world.score()
    real = refresh_module.commit_plans

    def commit(*given, **named):
        monkeypatch.setattr(refresh_module, "commit_plans", real)
        world.score(world.months("2013-02-01", "2013-04-01"), dataclasses.replace(TASK, code_version="other"))
        return real(*given, **named)

    monkeypatch.setattr(refresh_module, "commit_plans", commit)
    with pytest.raises(PartitionsRefusedError) as caught:
        world.score(task=dataclasses.replace(TASK, code_version="mine"))
    (error,) = caught.value.refused.values()
    assert isinstance(error, CommitConflictError)
    assert "at_month=2013-02-01" in str(error)
    assert [report.changed for report in caught.value.published] == [True, True]
    world.check(1, 2, 3, 4)
    last = next(iter(reversed(DeltaTable(str(world.table)).history())))
    assert last["version"] == 0


@pytest.mark.promise("T125")
def test_partitions_share_their_parts_with_score_table(world):
    """The same rows, whichever verb scores them, have parts of the same names."""
    regions = StaticPartitions(column="region", values=["south", "north"])
    plan = world.plan(world.months("south", "north", by=regions))
    for region in ("south", "north"):
        alone = plan_table(str(world.source), TASK, **world.arguments(partition={"region": region}))
        assert alone.target == plan.plans[region].target
    score_table(world.session, str(world.source), TASK, **world.arguments(partition={"region": "north"}))
    jobs = world.session.jobs
    first, second = world.score(world.months("south", "north", by=regions))
    assert (first.changed, second.changed, world.session.jobs) == (True, False, jobs + 1)


@pytest.mark.promise("T125")
def test_the_names_of_parts_depend_on_these_things_and_no_others(world):
    """Spelled out, so that names that tables hold already do not change by accident."""
    loader = ModelLoader(world.root, device="cpu")
    plan = plan_table(str(world.source), TASK, **world.arguments(partition={"region": "north"}))
    digest = digest_of(
        {
            "model": model_digest(TASK, world.root),
            "task": task_digest(TASK),
            "loader": loader.digest(TASK),
            "files": files_digest(TASK, world.root),
            "code": {piece: found for piece, found in loader.code(TASK).items() if not piece.endswith(DECLARED)},
            "schema": sorted([column.name, str(column.type)] for column in plan.schema),
            "partition": [["region", "north"]],
        }
    )
    (shard,) = plan.new
    (piece,) = shard.pieces
    file = piece.file
    identity = json.dumps([2, digest, file.path, file.size_bytes, file.modified_ms, [], piece.footer_digest])
    assert shard.fingerprint == hashlib.sha256(identity.encode() + b"0:8").hexdigest()[:32]


def test_a_month_of_another_time_zone_is_another_month(world):
    """The same key and value, other rows: its parts have other names, and replace the old ones."""
    world.score()
    eastern = dataclasses.replace(BY_MONTH, timezone="Asia/Tokyo")  # midnight of UTC is 9 o'clock there: the same rows
    assert not world.plan(world.months(by=eastern)).plans["2013-01-01"].unchanged
    western = dataclasses.replace(BY_MONTH, timezone="America/New_York")
    reports = world.score(world.months(by=western))
    assert [report.shards_unchanged for report in reports] == [0, 0, 0]
    firsts = {row["id"]: row["at_month"] for row in world.rows()}
    assert firsts[4] == "2013-01-01"  # the first of February, 0:00 in UTC, is January there
    assert 0 not in firsts


@pytest.mark.promise("T128")
def test_a_plan_is_printed_with_a_line_for_each_partition_that_changes(world):
    world.score(world.months("2013-01-01"))
    plan = world.plan()
    assert plan.changes
    first, second, third = str(plan).splitlines()
    assert first.endswith("table: 2 of 3 partitions to be refreshed")
    assert second == "  2013-02-01: 2 new shards in 21 rows, 0 resumable, 0 unchanged, 0 obsolete parts"
    assert third.startswith("  2013-03-01: 2 new shards in")
    world.score()
    assert not world.plan().changes
    assert Table(str(world.table)).version == 1


def test_partitions_that_make_no_sense_are_refused(world):
    january = world.months("2013-01-01")
    with pytest.raises(TaskError, match="two partitions are the same one: at_month='2013-01-01'"):
        world.score([*january, *january])
    regions = StaticPartitions(column="region", values=["south"])
    with pytest.raises(TaskError, match="partitions are by different columns: at_month, region"):
        world.score([*january, *world.months("south", by=regions)])
    with pytest.raises(
        TaskError, match=r"the input has no column 'regoin', and `where` selects no rows.*did you mean 'region'"
    ):
        world.score([TablePartition(key="k", column="regoin", value="south", where=())])
    with pytest.raises(TaskError, match="partitions is empty"):
        world.plan([])
    assert world.score([]) == ()
    assert not world.table.exists()


@pytest.mark.promise("T67")
@pytest.mark.parametrize("taken", ["AT_MONTH", "predicted_class"])
def test_a_column_that_is_added_may_not_hide_another_one(world, taken):
    """Readers would see the partition's key in place of the prediction, or two columns of one name."""
    world.write("a", 1)
    path = world.source / lone_file("a")
    rows = pq.read_table(path)
    if taken == "AT_MONTH":
        pq.write_table(rows.append_column(taken, rows["region"]), path)
    column = taken.lower()
    partitions = [dataclasses.replace(found, column=column) for found in world.months("2013-01-01")]
    with pytest.raises(TaskError, match=rf"add the column '{column}' to the predictions.* have '{taken}' already"):
        plan_partitions(
            str(world.source),
            TASK,
            output_table=str(world.table),
            model_loader=ModelLoader(world.root),
            partitions=partitions,
        )


def test_a_table_without_partitions_is_kept_and_the_way_out_named(world):
    score_table(world.session, str(world.source), TASK, **world.arguments())
    before = {path: path.read_bytes() for path in world.table.rglob("*.*")}
    with pytest.raises(TableError, match="has no partitions, but this refresh covers partitions by at_month.* delete the table's folder, or give the task another name"):  # fmt: skip
        world.score()
    assert {path: path.read_bytes() for path in world.table.rglob("*.*")} == before


@pytest.mark.promise("T68")
def test_new_columns_come_to_several_partitions_at_once(world):
    """In one commit; they are null in the partitions that were not refreshed."""
    world.score()
    wider = dataclasses.replace(TASK, output=ClassificationOutput(scores=True))
    world.score(world.months(*MONTHS[:2]), wider)
    assert Table(str(world.table)).version == 1
    world.check(1, 2, 3)
    assert {(row["at_month"], row["scores"] is None) for row in world.rows()} == {*zip(MONTHS, (False, False, True), strict=True)}  # fmt: skip
    assert [report.changed for report in world.score(world.months(*MONTHS[:2]), wider, no_session)] == [False, False]


@pytest.mark.promise("T129")
def test_a_task_reads_partitioned_predictions_whole_or_partition_by_partition(world):
    """Whole: the partitions' column is a column like any other. By partition: files of others are not even planned."""
    world.score()
    chained = dataclasses.replace(TASK, name="chained", output_prefix="next_", keep_columns=None)
    whole = world.root / "whole"
    given = {"model_loader": ModelLoader(world.root, device="cpu")}
    report = score_table(world.session, str(world.table), chained, output_table=str(whole), **given)
    assert (report.rows_in, report.rows_table) == (16, 16)
    rows = DeltaTable(str(whole)).to_pyarrow_table().to_pylist()
    assert sorted((row["id"], row["at_month"], row["next_predicted_class"]) for row in rows) == world.expected(1, 2, 3)

    columns = {column.name: str(column.type) for column in Table(str(world.table)).schema}
    months = BY_MONTH.table_partitions(MONTHS, columns, "task 't'")
    monthly = world.root / "monthly"
    plan = plan_partitions(str(world.table), chained, output_table=str(monthly), partitions=months, **given)
    for month, found in plan.plans.items():
        assert {piece.file.path.split("/")[0] for shard in found.new for piece in shard.pieces} == {f"at_month={month}"}
    reports = score_partitions(world.session, str(world.table), chained, output_table=str(monthly), partitions=months, **given)  # fmt: skip
    assert [(report.rows_in, report.tally.outside) for report in reports] == [(5, 0), (5, 0), (6, 0)]
    again = DeltaTable(str(monthly)).to_pyarrow_table().to_pylist()
    assert sorted((row["id"], row["at_month"], row["next_predicted_class"]) for row in again) == world.expected(1, 2, 3)


@pytest.mark.promise("T132")
def test_a_plan_lists_the_table_once_however_many_partitions_there_are(world, monkeypatch):
    """And with nothing to do, tallies come from the log."""
    listed, read = [], []
    files, open_input = Folder.files, Folder.open_input
    monkeypatch.setattr(Folder, "files", lambda self, *given, **named: listed.append(1) or files(self, *given, **named))
    monkeypatch.setattr(Folder, "open_input", lambda self, *given: read.append(given) or open_input(self, *given))
    days = TimePartitions(by="day", column="at", start="2013-01-01")
    keys = [f"2013-01-{day:02}" for day in range(1, 31)]
    counts = []
    for number in (12, 30):
        partitions = world.months(*keys[:number], by=days)
        world.score(partitions)
        listed.clear()
        read.clear()
        world.score(partitions, session=no_session)
        counts.append(len(listed))
        assert not [path for (path, *_) in read if "part-" in path]
    assert counts[0] == counts[1]


def test_a_vacuum_takes_what_a_refusal_left(world):
    """Not before its time: until then, it can be published."""
    strict = dataclasses.replace(TASK, max_failed_rows=0)
    world.write("broken", 2, x=float("nan"))
    with pytest.raises(PartitionsRefusedError):
        world.score(task=strict)
    assert len(vacuum(str(world.table), retention_hours=0, dry_run=True).files) == 3
    world.check(1, 3)


def test_the_same_in_a_session_of_sparks_own(world, spark):
    seen = []
    reports = world.score(session=spark, on_progress=seen.append)
    world.check(1, 2, 3)
    assert [report.rows_table for report in reports] == [5, 5, 6]
    assert seen[-1].rows_done == seen[-1].rows_total


def test_a_selection_of_the_whole_table_adds_nothing_to_fingerprints():
    assert Selection().digest_parts == {}
