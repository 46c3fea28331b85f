"""Input tables under kills, races and vacuums at every step, with a stand-in for Spark's part: it splits a source differently
when it is read with other sources, as Spark does."""

import contextlib
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.spark.inputs import materialize as input_tables
from sparktorch_assets.spark.inputs import state as input_state
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.tasks import InputTable

NUMBERS = InputTable(
    name="numbers",
    source=["source/*.csv"],
    format="csv",
    columns={"x": "long"},
    max_rejected_share=1,
    max_vanished_share=1,
)


PUBLISH, COMMIT, READ = Folder.publish, input_tables.commit_parts, input_state.Table


class Killed(BaseException):
    """Ends the process, as far as the lake can tell."""


class ReadByHand:
    """Writes what Spark would: one folder per source, its rows cut by how many sources there are."""

    def __init__(self, _spark, _table, sources):
        self.written = SimpleNamespace(check=lambda *_: None)  # hosts share the folder
        self.folders = {f"source={number}": source for number, source in enumerate(sources)}

    def _write(self, table, staging, rows_of, name, kind):
        for folder, source in self.folders.items():
            rows = rows_of(source.path.read_text().split())
            for start in range(0, len(rows), len(self.folders)):
                target = Path(table.full(staging)) / folder
                target.mkdir(parents=True, exist_ok=True)
                part = pa.table({name: pa.array(rows[start : start + len(self.folders)], kind)})
                pq.write_table(part, target / f"part-{start:05d}.parquet")

        return sorted(entry.path for entry in table.files(staging))

    def write_rows(self, table, staging):
        files = self._write(table, staging, good, "x", pa.int64())
        return files, sum(len(malformed(source.path.read_text().split())) for source in self.folders.values())

    def write_malformed(self, table, staging):
        return self._write(table, staging, malformed, "record", pa.string())


def good(words):
    return [int(word) for word in words if word.isdigit()]


def malformed(words):
    return [word for word in words if not word.isdigit()]


def refresh(root, step=lambda: None):
    """One materialization; `step` is called before each table is read, each file gets its name, and each commit."""

    def publish_later(self, *args, **kwargs):
        step()
        return PUBLISH(self, *args, **kwargs)

    def commit_later(*args, **kwargs):
        step()
        return COMMIT(*args, **kwargs)

    def read_later(*args):
        step()
        return READ(*args)

    with (
        mock.patch.object(input_state, "Table", read_later),
        mock.patch.object(input_tables, "open_sources", lambda *args: contextlib.nullcontext(ReadByHand(*args))),
        mock.patch.object(Folder, "publish", publish_later),
        mock.patch.object(input_tables, "commit_parts", commit_later),
    ):
        return materialize_input(object(), NUMBERS, project_root=root, table_uri=str(root / "numbers"))


def rows_of(root, table="numbers", column="x"):
    return sorted(DeltaTable(str(root / table)).to_pyarrow_table()[column].to_pylist())


def expected(root, pick=good):
    return sorted(row for path in (root / "source").glob("*.csv") for row in pick(path.read_text().split()))


def write_source(root, name, words):
    (root / "source").mkdir(exist_ok=True)
    (root / "source" / f"{name}.csv").write_text(" ".join(words))


WORDS = st.lists(st.sampled_from([*map(str, range(9)), "bad", "worse"]), max_size=5)


class InputMachine(RuleBasedStateMachine):
    @initialize(words=WORDS)
    def begin(self, words):
        self.root = Path(tempfile.mkdtemp())
        write_source(self.root, "a", words)
        refresh(self.root)

    @rule(name=st.sampled_from("abc"), words=WORDS)
    def write(self, name, words):
        write_source(self.root, name, words)

    @rule(name=st.sampled_from("bc"))
    def remove(self, name):
        (self.root / "source" / f"{name}.csv").unlink(missing_ok=True)

    @rule(kill_at=st.integers(0, 10))
    def refresh_and_be_killed(self, kill_at):
        left = kill_at

        def step():
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1

        with contextlib.suppress(Killed):
            refresh(self.root, step)

    @rule(at=st.integers(0, 10), name=st.sampled_from("abc"), words=WORDS)
    def refresh_and_be_overtaken(self, at, name, words):
        """Another run reads one more change and commits first."""
        left = at

        def step():
            nonlocal left
            if left == 0:
                write_source(self.root, name, words)
                refresh(self.root)
            left -= 1

        try:
            refresh(self.root, step)
        except CommitConflictError:
            pass
        except TableError as error:  # the change came before the files that were read were looked at again
            assert "rewritten or deleted while they were read" in str(error)  # noqa: PT017

    @rule(number=st.integers(0, 5), cut=st.booleans())
    def lose_a_part(self, number, cut):
        listed = sorted(DeltaTable(str(self.root / "numbers")).file_uris())
        if listed:
            path = Path(listed[number % len(listed)])
            path.write_bytes(path.read_bytes()[:20]) if cut else path.unlink()
            refresh(self.root)

    @rule(kept=st.booleans())
    def lose_the_rejected_rows(self, kept):
        """The whole table, or its rows by somebody's DELETE."""
        table = self.root / "numbers__rejected"
        if (
            kept
            and DeltaTable.is_deltatable(str(table))
            and DeltaTable(str(table)).history(1)[0].get("sparktorch_assets.input_table")
        ):
            DeltaTable(str(table)).delete()
        else:
            shutil.rmtree(table, ignore_errors=True)
        refresh(self.root)

    @rule()
    def vacuum_all(self):
        vacuum(str(self.root / "numbers"), retention_hours=0)

    @rule()
    def refresh(self):
        report = refresh(self.root)
        assert rows_of(self.root) == expected(self.root)
        assert report.rejected_rows == len(expected(self.root, malformed))
        if report.rejected_table:
            assert rows_of(self.root, "numbers__rejected", "record") == expected(self.root, malformed)
        assert refresh(self.root).changed is False

    @invariant()
    def the_table_can_be_read(self):
        if hasattr(self, "root"):
            rows_of(self.root)

    def teardown(self):
        if hasattr(self, "root"):
            shutil.rmtree(self.root)


TestInputMachine = InputMachine.TestCase
TestInputMachine.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize("at", range(8))
def test_a_run_that_lost_writes_over_nothing_of_the_winner(tmp_path, at):
    """The winner has read one source more, and so has cut the first one differently."""
    write_source(tmp_path, "a", ["1", "2", "3", "bad", "4"])
    left = at

    def step():
        nonlocal left
        if left == 0:
            write_source(tmp_path, "b", ["5", "6"])
            refresh(tmp_path)
        left -= 1

    with contextlib.suppress(CommitConflictError):
        refresh(tmp_path, step)
    rows_of(tmp_path)
    refresh(tmp_path)
    assert rows_of(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert rows_of(tmp_path, "numbers__rejected", "record") == ["bad"]


@pytest.mark.parametrize("at", range(8))
def test_runs_that_read_the_same_files_agree(tmp_path, at):
    """Two schedules at one minute: whoever comes second finds its work done, whichever step it has reached."""
    write_source(tmp_path, "a", ["1", "2", "bad", "3"])
    left = at

    def step():
        nonlocal left
        if left == 0:
            refresh(tmp_path)
        left -= 1

    report = refresh(tmp_path, step)
    assert left < 0
    assert (report.version, report.changed, report.rows, report.rejected_rows) == (0, False, 3, 1)
    assert rows_of(tmp_path) == [1, 2, 3]
    assert rows_of(tmp_path, "numbers__rejected", "record") == ["bad"]


@pytest.mark.parametrize("what", ["rewritten", "replaced, same size and time", "deleted"])
def test_a_source_that_changes_while_it_is_read_ends_the_run(tmp_path, what):
    write_source(tmp_path, "a", ["1", "2"])
    file, write_rows = tmp_path / "source" / "a.csv", ReadByHand.write_rows

    def change():
        if what == "rewritten":
            file.write_text("1 2 3")
        elif what == "deleted":
            file.unlink()
        else:
            status = file.stat()
            file.unlink()
            file.write_text("3 4")
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    def write_and_change(self, table, staging):
        found = write_rows(self, table, staging)
        change()
        return found

    with (
        mock.patch.object(ReadByHand, "write_rows", write_and_change),
        pytest.raises(
            TableError, match=r"1 source files were rewritten or deleted while they were read \(first: source/a"
        ),
    ):
        refresh(tmp_path)
    assert not (tmp_path / "numbers" / "_delta_log").exists()
    assert not list((tmp_path / "numbers").glob("*"))


ROUNDS = 10


def refresh_at(root, at, seed):
    """One materialization that begins at a given time and dawdles at every step; it may be called in another process."""
    drawn = random.Random(seed)
    time.sleep(max(0.0, at - time.time()))
    return refresh(root, lambda: time.sleep(drawn.choice([0.0, 0.0, 0.01, 0.05])))


def check_whole(root):
    """Nothing doubled or lost, in both tables, and a vacuum leaves what the tables list and nothing else."""
    assert rows_of(root) == expected(root)
    assert rows_of(root, "numbers__rejected", "record") == expected(root, malformed)
    for table in ("numbers", "numbers__rejected"):
        listed = {Path(path).name for path in DeltaTable(str(root / table)).file_uris()}
        vacuum(str(root / table), retention_hours=0)
        left = {path.name for path in (root / table).rglob("*") if path.is_file() and "_delta_log" not in path.parts}
        assert left == listed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_at_once_both_succeed(tmp_path):
    """With new files and malformed rows in each round, and another interleaving."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(abs, range(4)))  # both are up
        for number in range(ROUNDS):
            write_source(tmp_path, f"{number}", [str(number), "bad", "1", "2", f"worse{number}"])
            if number % 3 == 2:  # rows leave as well
                write_source(tmp_path, f"{number - 1}", ["7", "bad"])
            at = time.time() + 0.05
            runs = [pool.submit(refresh_at, tmp_path, at, 2 * number + run) for run in range(2)]
            reports = [run.result(timeout=60) for run in runs]
            assert {(report.rows, report.rejected_rows) for report in reports} == {
                (len(expected(tmp_path)), len(expected(tmp_path, malformed)))
            }
            check_whole(tmp_path)


def test_a_run_that_was_overtaken_reads_what_is_still_missing(tmp_path):
    """The winner has seen one file less."""
    write_source(tmp_path, "a", ["1", "bad"])
    refresh(tmp_path)
    write_source(tmp_path, "b", ["2", "worse"])
    list_files, calls = input_state.find_sources, iter(range(100))

    def list_late(*args):
        if next(calls) == 0:
            refresh(tmp_path)
            write_source(tmp_path, "c", ["3", "bad"])
        return list_files(*args)

    with mock.patch.object(input_state, "find_sources", list_late):
        report = refresh(tmp_path)
    assert (report.changed, report.rows, report.rejected_rows) == (True, 3, 3)
    check_whole(tmp_path)


def test_a_run_that_is_overtaken_again_and_again_gives_up(tmp_path):
    numbers = iter(range(100))

    def overtaken(*args, **kwargs):
        with mock.patch.object(input_tables, "commit_parts", COMMIT):
            refresh(tmp_path)
            write_source(tmp_path, f"{next(numbers)}", ["1"])
        return COMMIT(*args, **kwargs)

    write_source(tmp_path, "a", ["1"])
    with (
        mock.patch.object(input_tables, "open_sources", lambda *args: contextlib.nullcontext(ReadByHand(*args))),
        mock.patch.object(input_tables, "commit_parts", overtaken),
        pytest.raises(CommitConflictError),
    ):
        materialize_input(object(), NUMBERS, project_root=tmp_path, table_uri=str(tmp_path / "numbers"))
    assert next(numbers) == 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_runs_at_once_on_sparks_own_reader_both_succeed(spark, tmp_path):
    """Threads of one session; each round lets one of them begin a little later."""
    begin = threading.Barrier(2)

    def run(wait_s):
        begin.wait()
        time.sleep(wait_s)
        return materialize_input(spark, NUMBERS, project_root=tmp_path, table_uri=str(tmp_path / "numbers"))

    with ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS):
            (tmp_path / "source").mkdir(exist_ok=True)
            (tmp_path / "source" / f"{number}.csv").write_text(f"{number}\nbad\n1\n2\nworse{number}\n")
            reports = list(pool.map(run, (0.0, number * 0.1)))
            assert {(report.rows, report.rejected_rows) for report in reports} == {(3 * (number + 1), 2 * (number + 1))}
            check_whole(tmp_path)
