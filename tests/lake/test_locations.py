"""Where a table's files lie: odd folder names, absolute URIs, and paths that lead out of the table."""

import os
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from delta_log import column, file_vector, put_file, write_log
from deltalake import DeltaTable
from lake_scorer import INPUT, carry_out, expected_rows, pieces_of, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.table import Table, table_version
from sparktorch_assets.lake.table_tally import TALLY_KEY
from sparktorch_assets.lake.vacuum import vacuum

COLUMNS = [column("id", "string"), column("x", "long")]
ROWS = pa.table({"id": ["a", "b"], "x": [1, 2]}, schema=INPUT)
ODD_ROOTS = ["a b", " a", "#1", "a?b", "ü€", "c%", "r%zz", "a+b", "a=b", "x[1]", "{x}", "a;b&c", "~", "a:b", "%"]


@pytest.mark.parametrize("name", ODD_ROOTS)
@pytest.mark.parametrize("as_uri", [False, True])
def test_roots_of_odd_names_are_inputs_and_outputs(tmp_path, name, as_uri):
    spelled = (lambda path: path.as_uri()) if as_uri else (lambda path: path)
    source, table = tmp_path / name / "in", tmp_path / name / "out"
    for change in range(2):
        write_file(source, f"f{change}", [change, 2, 3, 4])
        carry_out(plan_of(spelled(source), spelled(table), 1), table, 1)
        assert rows_of(table) == expected_rows(source, 1)
        assert Table(str(spelled(table))).row_count() == 4 * (change + 1)
    assert not plan_of(spelled(source), spelled(table), 1).changes
    assert vacuum(str(spelled(table)), retention_hours=0).files == ()
    assert TALLY_KEY in Table(str(spelled(table))).metadata
    DeltaTable(str(table)).optimize.compact()  # by somebody else
    assert len(plan_of(spelled(source), spelled(table), 1).resumable) == 4
    derived = str(spelled(tmp_path / name / "derived"))
    assert [write_if_changed(derived, ROWS, made) for made in ("1", "1", "2", "2")] == [True, False, True, False]
    delta = tmp_path / name / "delta"
    delta.mkdir()
    action = put_file(delta, "a.parquet", ROWS)
    write_log(delta, COLUMNS, [action], reader=1)
    assert [row["id"] for row in Table(str(spelled(delta))).preview(9)] == ["a", "b"]


@pytest.mark.promise("T44")
@pytest.mark.parametrize("name", ["r%20x", "a%2Fb", "100%25", "%C3%BC", "a\\b"])
def test_roots_that_delta_rs_mistakes_for_others_are_refused(tmp_path, name):
    """It would read and write the table of another folder; Parquet files are read all the same."""
    source, other = tmp_path / name / "in", tmp_path / "out"
    write_file(source, "a", [1, 2, 3])
    refresh(source, other, 1)
    assert rows_of(other) == expected_rows(source, 1)
    table = tmp_path / name / "out"
    for refused in (
        lambda: plan_of(source, table, 1),
        lambda: plan_of(source, table.as_uri(), 1),
        lambda: write_if_changed(str(table), ROWS, "made"),
    ):
        with pytest.raises(TableError, match="which reads and writes the tables' logs, takes"):
            refused()
    write_log(source, COLUMNS, [put_file(source, "a.parquet", ROWS)], reader=1)
    with pytest.raises(TableError, match="without a percent sign"):
        table_version(str(source))


ELSEWHERE = {
    "file URI": lambda path: path.as_uri(),
    "file URI of one slash": lambda path: path.as_uri().replace("file://", "file:"),
    "absolute path": lambda path: quote(str(path)),
}


@pytest.mark.promise("T36")
@pytest.mark.parametrize("spelling", ELSEWHERE)
@pytest.mark.parametrize("deleted", [set(), {0}])
def test_a_shallow_clone_reads_the_files_of_another_table(tmp_path, spelling, deleted):
    table, other = tmp_path / "clone", tmp_path / "the other #1"
    action = put_file(table, "p a.parquet", ROWS, at=other)
    action["path"] = ELSEWHERE[spelling](other / "p a.parquet")
    if deleted:
        action["deletionVector"] = file_vector(other, deleted, absolute=True)
    own = put_file(table, "own.parquet", ROWS)
    write_log(table, COLUMNS, [action, own], features=["deletionVectors"])
    plan = plan_of(table, tmp_path / "out", 1)
    assert plan.rows == Table(str(table)).row_count() == 4 - len(deleted)
    found = []
    for piece in pieces_of(plan.new):
        with PieceReader(piece, INPUT) as reader:
            found += [row for batch in reader.batches() for row in batch["id"].to_pylist()]
    assert sorted(found) == sorted(["a", "b"] * 2)[len(deleted) :]


@pytest.mark.promise("T37")
@pytest.mark.parametrize(
    "path", ["../secret.parquet", "%2E%2E/secret.parquet", "a/../../secret.parquet", "..%2Fsecret.parquet"]
)
def test_a_relative_path_never_leads_out(tmp_path, path):
    table = tmp_path / "t"
    action = put_file(table, "secret.parquet", ROWS, at=tmp_path) | {"path": path}
    write_log(table, COLUMNS, [action], reader=1)
    for question in (
        lambda table: Table(table).row_count(),
        lambda table: Table(table).preview(1),
        lambda table: plan_of(table, tmp_path / "out", 1),
    ):
        with pytest.raises(TableError, match=r"leads out of the table's folder.* by its full URI \(file:///"):
            question(str(table))


@pytest.mark.promise("T37")
@pytest.mark.parametrize("log", [True, False], ids=["Delta", "folder"])
@pytest.mark.parametrize("link", ["file", "folder", "parent"])
def test_a_symbolic_link_never_leads_out(tmp_path, log, link):
    table, secret = tmp_path / "t", tmp_path / "secret"
    (table / "sub").mkdir(parents=True)
    action = put_file(table, "x.parquet", ROWS, at=secret / "deep")
    target, at = {
        "file": (secret / "deep" / "x.parquet", "sub/x.parquet"),
        "folder": (secret / "deep", "deep"),
        "parent": (secret, "sub/way"),
    }[link]
    (table / at).symlink_to(target)
    path = next(
        str(Path(root) / "x.parquet") for root, _, names in os.walk(table, followlinks=True) if "x.parquet" in names
    )
    if log:
        write_log(table, COLUMNS, [action | {"path": os.path.relpath(path, table)}], reader=1)
    with pytest.raises(TableError, match=r"leads out of the table's folder .* by a symbolic link"):
        plan_of(table, tmp_path / "out", 1)


def test_links_within_a_table_and_to_it_are_followed(tmp_path):
    real = tmp_path / "releases" / "one"
    write_file(real, "a", [1, 2])
    (real / "b.parquet").symlink_to(real / "a.parquet")
    (tmp_path / "now").symlink_to(real)
    assert Table(str(tmp_path / "now")).row_count() == 4
    (tmp_path / "file.parquet").symlink_to(real / "a.parquet")
    assert Table(str(tmp_path / "file.parquet")).row_count() == 2


def test_other_writers_paths_are_decoded_once(tmp_path):
    """Whatever they leave as it is, and whatever they encode."""
    names = ["k=a b/x.parquet", "k=a%20b/x.parquet", "k=ü/x.parquet", "k=50%25/x.parquet", "k=#1+2/x.parquet"]
    adds = []
    for name in names:
        adds.append(put_file(tmp_path, name, ROWS))
        adds[-1]["path"] = quote(name, safe="/=+ü")
    write_log(tmp_path, COLUMNS, adds, reader=1)
    assert {file.path for file in Table(str(tmp_path)).files} == set(names)
    assert len(Table(str(tmp_path)).preview(99)) == Table(str(tmp_path)).row_count() == 2 * len(names)
    assert plan_of(tmp_path, tmp_path / "out", 1).rows == 2 * len(names)


def test_a_log_with_checkpoints_alone_is_read_and_not_written(tmp_path):
    """delta-rs cannot commit on it, which is told before anything is computed."""
    source, table = tmp_path / "in", tmp_path / "out"
    write_file(source, "a", [1, 2, 3])
    refresh(source, table, 1)
    refresh(source, table, 2)
    DeltaTable(str(table)).create_checkpoint()
    next(iter(sorted((table / "_delta_log").glob("*.json")))).unlink()
    assert not plan_of(source, table, 2).changes  # what log clean-up leaves
    refresh(source, table, 3)
    DeltaTable(str(table)).create_checkpoint()
    for commit in (table / "_delta_log").glob("*.json"):
        commit.unlink()
    assert Table(str(table)).row_count() == len(Table(str(table)).preview(9)) == 3
    assert plan_of(table, tmp_path / "next", 1).rows == 3
    with pytest.raises(TableError, match=r"a log without the JSON file of its version 2.*only a checkpoint"):
        plan_of(source, table, 4)
