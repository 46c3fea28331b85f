"""A vacuum deletes nothing that anyone needs, and what is lost all the same is made again by the next refresh."""

import contextlib
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from lake_scorer import carry_out, expected_rows, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake import vacuum as module
from sparktorch_assets.lake.commit_plan import keep_resumed
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.parts.file import describe_part
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import table_tally
from sparktorch_assets.lake.vacuum import vacuum


@pytest.fixture
def lake(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", list(range(9)))
    refresh(source, table, 1)
    return source, table


def make_old(folder):
    for path in folder.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))


@pytest.mark.promise("T52")
def test_tables_below_a_table_keep_their_parts(lake):
    """Asset keys such as `a` and `a/b` nest: the outer table's vacuum leaves the inner one alone."""
    source, table = lake
    inner, deep = table / "inner", table / "x" / "y"
    for nested in (inner, deep):
        refresh(source, nested, 3)
    make_old(table)
    assert vacuum(str(table), retention_hours=0).files == ()
    assert rows_of(inner) == rows_of(deep) == expected_rows(source, 3)


@pytest.mark.parametrize("inner", ["b", "x/y"])
def test_a_table_below_that_has_no_commit_yet_keeps_its_parts(lake, inner):
    """Its first run is still at work, or was killed: its parts look like ours, and are not."""
    source, table = lake
    plan = plan_of(source, table / inner, 3)
    with contextlib.suppress(KeyboardInterrupt):
        carry_out(plan, table / inner, 3, stop_before_the_commit)
    parts = {path.name for path in (table / inner).glob("part-*")}
    assert len(parts) == 3
    make_old(table)
    assert vacuum(str(table), retention_hours=0).files == ()
    assert {path.name for path in (table / inner).glob("part-*")} == parts


def stop_before_the_commit(step):
    if step == "before commit":
        raise KeyboardInterrupt


@pytest.mark.promise("T52")
def test_old_parts_of_a_partition_go(tmp_path):
    """Folders of the table's own partitions are its own."""
    write_file(tmp_path / "source", "a", [1, 2, 3])
    day = {"partitions": [(("ds", "2013-01-01"),)]}
    table, folder = tmp_path / "table", tmp_path / "table" / "ds=2013-01-01"
    folder.mkdir(parents=True)
    rows = pa.table({"x": [1]})
    paths = [f"ds=2013-01-01/part-{number * 32}.parquet" for number in "01"]
    for path in paths:
        pq.write_table(rows, table / path)
    schema = pa.schema([*rows.schema, ("ds", pa.string())])
    parts = [describe_part(Folder(str(table)), path) for path in paths]
    commit_parts(str(table), schema, add=parts[:1], remove=[], metadata={}, read_version=None, **day)
    assert vacuum(str(table), retention_hours=0).files == (paths[1],)
    assert DeltaTable(str(table)).to_pyarrow_table().num_rows == 1


@pytest.mark.promise("T54")
def test_a_part_that_a_vacuum_takes_from_a_run_at_work_costs_that_run_alone(lake):
    """Nothing is kept for a retention of 0: the run says so, the table stays, and the next run makes the part again."""
    source, table = lake
    plan = plan_of(source, table, 2)

    def step(reached):
        if reached == "before commit":
            vacuum(str(table), retention_hours=0)

    with pytest.raises(TableError, match="is missing; did a vacuum with too short a retention run meanwhile"):
        carry_out(plan, table, 2, step)
    assert rows_of(table) == expected_rows(source, 1)
    refresh(source, table, 2)
    assert rows_of(table) == expected_rows(source, 2)


@pytest.mark.promise("T54")
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("effect", ["publish", "link", "linked"])
def test_a_file_that_a_vacuum_takes_before_it_is_a_part_costs_that_run_alone(lake, monkeypatch, effect, links):
    """As above, while the file still has its temporary name, or has just got its own; with hard links and without."""
    source, table = lake
    link, publish = os.link, Folder.publish

    def late_publish(self, temporary, final):
        vacuum(str(table), retention_hours=0)
        return publish(self, temporary, final)

    def late_link(*paths):
        if effect == "link":
            vacuum(str(table), retention_hours=0)
        if not links:
            raise PermissionError("no hard links here")
        link(*paths)
        if effect == "linked":
            vacuum(str(table), retention_hours=0)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", late_link)
        if effect == "publish":
            patch.setattr(Folder, "publish", late_publish)
        if effect == "linked" and not links:
            refresh(source, table, 2)
        else:
            with pytest.raises(TableError, match="deleted .* did a vacuum with too short a retention .* run again"):
                refresh(source, table, 2)
            assert rows_of(table) == expected_rows(source, 1)
    refresh(source, table, 2)
    assert rows_of(table) == expected_rows(source, 2)


def test_a_temporary_name_that_is_gone_once_the_part_has_its_own_does_no_harm(lake, monkeypatch):
    source, table = lake
    link = os.link

    def link_alone(temporary, final):
        link(temporary, final)
        os.unlink(temporary)  # noqa: PTH108

    monkeypatch.setattr(os, "link", link_alone)
    refresh(source, table, 2)
    assert rows_of(table) == expected_rows(source, 2)


@pytest.mark.promise("T52")
@pytest.mark.parametrize("kind", ["folder", "file", "staging"])
def test_what_symbolic_links_lead_to_stays(lake, tmp_path, kind):
    source, table = lake
    elsewhere = tmp_path / "elsewhere"
    name = f"part-{'0' * 32}.parquet"
    elsewhere.mkdir()
    pq.write_table(pa.table({"x": [1]}), elsewhere / name)
    os.utime(elsewhere / name, (1, 1))
    if kind == "file":
        (table / f"part-{'1' * 32}.parquet").symlink_to(elsewhere / name)
    else:
        (table / ("link" if kind == "folder" else f"_staging-00000000-{'0' * 24}")).symlink_to(elsewhere)
    vacuum(str(table), retention_hours=0)
    assert (elsewhere / name).exists()
    assert rows_of(table) == expected_rows(source, 1)


@pytest.mark.parametrize("when", ["planned", "part", "before commit"])
def test_a_part_that_a_run_takes_up_again_survives_a_vacuum(lake, when):
    """Going back to old weights resumes old parts: the vacuum comes at each step of that run."""
    source, table = lake
    refresh(source, table, 2)
    make_old(table)
    plan = plan_of(source, table, 1)
    assert len(plan.resumable) == 3
    keep_resumed(plan)

    def step(reached):
        if reached == when:
            vacuum(str(table), retention_hours=1)

    carry_out(plan, table, 1, step)
    vacuum(str(table), retention_hours=1)
    assert rows_of(table) == expected_rows(source, 1)


def test_a_commit_after_the_vacuum_read_the_table_is_seen(lake, monkeypatch):
    """The commit that takes up an old part lands while the vacuum decides."""
    source, table = lake
    refresh(source, table, 2)
    make_old(table)
    plan = plan_of(source, table, 1)

    def slow_read(uri):
        found = Table(uri)
        assert found.snapshot.version == 1
        monkeypatch.setattr(module, "Table", Table)
        carry_out(plan, table, 1)
        return found

    monkeypatch.setattr(module, "Table", slow_read)
    vacuum(str(table), retention_hours=0.001)
    assert rows_of(table) == expected_rows(source, 1)


@pytest.mark.promise("T10")
@pytest.mark.parametrize("damage", ["deleted", "cut", "emptied", "all deleted", "replaced by another part"])
def test_any_loss_of_a_file_is_healed_by_the_next_refresh(lake, damage):
    """Only the lost parts are computed; rows, counts and sizes in the log are right again, with no schema or rows changed."""
    source, table = lake
    parts = sorted(table.glob("part-*.parquet"))
    content = parts[0].read_bytes()
    if damage == "deleted":
        parts[0].unlink()
    elif damage == "all deleted":
        for part in parts:
            part.unlink()
    elif damage == "replaced by another part":
        shutil.copy(parts[1], parts[0])
        parts[0].write_bytes(parts[1].read_bytes() + b"PAR1")
    else:
        parts[0].write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    plan = plan_of(source, table, 1)
    assert plan.changes
    committed, computed = carry_out(plan, table, 1)
    assert len(computed) == (3 if damage == "all deleted" else 1)
    assert committed.changed
    assert rows_of(table) == expected_rows(source, 1)
    found = Table(str(table))
    snapshot = found.snapshot
    assert len(snapshot.parts) == 3
    assert {path: (table / path).stat().st_size for path in snapshot.parts} == {
        path: part.size_bytes for path, part in snapshot.parts.items()
    }
    assert table_tally(found).rows == len(expected_rows(source, 1))
    assert not plan_of(source, table, 1).changes
    assert DeltaTable(str(table)).to_pyarrow_table().num_rows == 9


def test_two_runs_that_heal_the_same_loss_agree(lake):
    source, table = lake
    min(table.glob("part-*.parquet")).unlink()
    plans = [plan_of(source, table, 1), plan_of(source, table, 1)]
    for plan in plans:
        carry_out(plan, table, 1)
    assert rows_of(table) == expected_rows(source, 1)
    assert not plan_of(source, table, 1).changes
