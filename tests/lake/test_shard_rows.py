"""The number of rows of a shard is decided once for a model and a task, by one of several runs, and known ever after."""

import json
import threading

import pytest
from lake_scorer import plan_of, score_shard, write_file

from sparktorch_assets.lake.commit_plan import commit_plan
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.shard_rows import MOST_DIGESTS, SHARD_ROWS_KEY, ShardRows
from sparktorch_assets.lake.table import Table

DIGEST, OTHER = "a" * 64, "b" * 64


def find(folder, digest=DIGEST, **given):
    return ShardRows.find(Table(str(folder)), digest, **given)


def committed(**numbers):
    """The metadata of a commit, by digest."""
    return {SHARD_ROWS_KEY: json.dumps({digest * 16: rows for digest, rows in numbers.items()})}


def test_what_a_run_leaves_is_found_by_the_next_one(tmp_path):
    assert find(tmp_path / "none") == ShardRows(key="a" * 16)
    left = find(tmp_path).published(Folder(str(tmp_path)), 4096)
    assert left == find(tmp_path) == ShardRows(key="a" * 16, rows=4096, settled=True)
    assert not find(tmp_path, OTHER).settled
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("_")  # hidden from whoever reads the folder's files


@pytest.mark.promise("T138")
def test_the_first_of_several_runs_decides_for_all(tmp_path):
    found, start = [], threading.Barrier(8)

    def publish(rows):
        start.wait()
        found.append(ShardRows(key="a" * 16).published(Folder(str(tmp_path)), rows).rows)

    runs = [threading.Thread(target=publish, args=(1 << number,)) for number in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert set(found) == {find(tmp_path).rows}
    assert ShardRows(key="a" * 16).published(Folder(str(tmp_path)), 12345).rows == found[0]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"12\x00\x00", b"-5", b"0", b"1e3"])
def test_a_file_that_was_cut_short_counts_for_nothing_and_is_replaced(tmp_path, content):
    find(tmp_path).published(Folder(str(tmp_path)), 4096)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert not find(tmp_path).settled
    assert find(tmp_path).published(Folder(str(tmp_path)), 2048).rows == find(tmp_path).rows == 2048


def test_a_promoted_model_is_cut_as_in_the_table_of_its_challenger(tmp_path):
    others = [{}, committed(b=64), committed(a=None, b=128)]
    assert find(tmp_path, OTHER, others=others) == ShardRows(key="b" * 16, rows=64, settled=True)
    assert find(tmp_path, DIGEST, others=others) == ShardRows(key="a" * 16, rows=None, settled=True)


def test_commits_list_the_latest_digests(tmp_path):
    last: dict[str, str] = {}
    for number in range(MOST_DIGESTS + 5):
        last = ShardRows(key=f"{number:016x}", rows=number or None).metadata(last)
    last = ShardRows(key=f"{5:016x}", rows=7).metadata(last)
    kept = json.loads(last[SHARD_ROWS_KEY])
    assert len(kept) == MOST_DIGESTS
    assert list(kept.items())[-1] == (f"{5:016x}", 7)
    assert f"{4:016x}" not in kept


@pytest.mark.parametrize("rows", [None, 64])
@pytest.mark.parametrize("parts", [0, 1])
def test_a_table_without_rows_has_decided_nothing(tmp_path, rows, parts):
    """Its input was empty until now; a number, however, was measured on rows that were deleted since."""
    write_file(tmp_path / "source", "a", [1] * parts)
    Folder(str(tmp_path / "table")).create()
    plan = plan_of(tmp_path / "source", tmp_path / "table", 1)
    written = {shard.part_path: score_shard(shard, tmp_path / "table", 1, print) for shard in plan.new}
    commit_plan(plan, written, lambda _: None, committed(a=rows))
    assert find(tmp_path / "table").settled == (parts == 1 or rows is not None)


def test_no_number_is_remembered_as_well():
    assert json.loads(ShardRows(key="a" * 16).metadata({})[SHARD_ROWS_KEY]) == {"a" * 16: None}


@pytest.mark.promise("T139")
def test_partitions_that_were_cut_differently_at_the_same_time_keep_their_numbers(tmp_path):
    """Runs of two partitions began before either had measured, and only one found its shards too long."""
    slow, quick = ShardRows(key="a" * 16, rows=64), ShardRows(key="a" * 16)
    both = [
        one.metadata(other.metadata({}, (("ds", "1"),)), (("ds", "2"),))
        for one, other in [(slow, quick), (quick, slow)]
    ]
    assert both[0] == both[1] == {SHARD_ROWS_KEY: json.dumps({"a" * 16: [64, None]})}
    found = find(tmp_path, others=both)
    assert found == ShardRows(key="a" * 16, rows=64, others=(None,), settled=True)
    assert found.metadata(both[0], (("ds", "3"),)) == both[0]
    assert slow.metadata(both[0]) == {SHARD_ROWS_KEY: json.dumps({"a" * 16: 64})}  # of the whole table
