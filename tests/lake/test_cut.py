"""How files are cut into shards: every row is in exactly one of them, and a change of one file reaches no further than its
neighbours."""

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_scorer import OUTPUT, pieces_of

from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.cut.row_groups import MOST_RANGES
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.parquet.footers import Footer, RowGroup
from sparktorch_assets.lake.scope import Scope, ScopeIndex
from sparktorch_assets.lake.shards import make_shards

SEEN = FileIdentity(host="h", device=1, inode=1, changed_ns=1, size_bytes=1, modified_ns=1)
WHOLE = ScopeIndex([Scope(digest="d")], OUTPUT)
BYTES = 10
"""Bytes of a row."""
SMALL_ROWS = 1_000


def cut(files, scopes=WHOLE, bytes_of_row=BYTES, **how):
    """The shards of a table's files, path -> rows of each row group (and, after a slash, what was rewritten)."""
    found = [
        DataFile(uri=f"/t/{path}", path=path, size_bytes=1, modified_ms=1, partition=_partition(path)) for path in files
    ]
    footers = [
        Footer(
            digest=f"{groups}",
            seen=SEEN,
            schema=OUTPUT,
            row_groups=tuple(RowGroup(rows=rows, bytes=rows * bytes_of_row) for rows in groups),
            packed=b"",
        )
        for groups in files.values()
    ]
    return make_shards(found, footers, scopes, **how)


def _partition(path):
    folder, _, _ = path.rpartition("/")
    return (tuple(folder.split("=")),) if folder else ()


def rows_of_pieces(shards, files):
    """(path, first row, end) of each piece, counted in the file."""
    found = []
    for piece in pieces_of(shards):
        groups = files[piece.file.path]
        start = sum(groups[: piece.first_group])
        first, end = piece.row_range or (0, sum(groups[piece.first_group : piece.end_group]))
        assert piece.rows == end - first
        assert piece.row_range is None or piece.end_group == piece.first_group + 1
        found.append((piece.file.path, start + first, start + end))
    return found


NAMES = st.text("abcxyz/é", min_size=1, max_size=6).map(lambda name: name.strip("/").replace("/", "_") or "a")
GROUPS = st.lists(st.integers(0, 40) | st.integers(0, 3_000), max_size=5).map(tuple)


@pytest.mark.promise("T134", "T136")
@given(
    files=st.dictionaries(NAMES, GROUPS, max_size=30),
    target_rows=st.sampled_from([1, 50, 1_000, 100_000]),
    shard_rows=st.none() | st.integers(1, 5_000),
)
def test_every_row_is_in_exactly_one_shard(files, target_rows, shard_rows):
    """In the order of the paths, and of the rows in each file."""
    shards = cut(files, target_rows=target_rows, shard_rows=shard_rows).get((), [])
    found = rows_of_pieces(shards, files)
    ends = {}
    for path, first, end in found:
        assert first == ends.get(path, 0)
        assert end > first
        ends[path] = end
    assert ends == {path: sum(groups) for path, groups in files.items() if sum(groups)}
    assert found == sorted(found)
    assert len({shard.fingerprint for shard in shards}) == len(shards)
    for shard in shards:
        if len(shard.pieces) > 1:
            assert all(piece.rows <= min(SMALL_ROWS, target_rows // 16) for piece in shard.pieces)
            assert all(piece.row_range is None for piece in shard.pieces)
            assert shard.rows < min(target_rows, 16 * SMALL_ROWS) + SMALL_ROWS


@given(files=st.dictionaries(NAMES, GROUPS, min_size=1, max_size=30), shard_rows=st.none() | st.integers(1, 5_000))
def test_the_cut_depends_on_the_files_alone(files, shard_rows):
    """Not on the order in which they are listed, nor on what else a run covers."""
    by_day = {f"ds={sum(map(ord, path)) % 2}/{path}": groups for path, groups in files.items()}
    columns = OUTPUT.append(pa.field("ds", pa.string()))
    days = [Scope(digest=f"d{day}", partition=(("ds", day),)) for day in "01"]
    both = cut(by_day, ScopeIndex(days, columns), shard_rows=shard_rows)
    shuffled = dict(random.Random(0).sample(sorted(by_day.items()), len(by_day)))
    assert cut(shuffled, ScopeIndex(days, columns), shard_rows=shard_rows) == both
    for day in days:
        mine = {path: groups for path, groups in by_day.items() if path.startswith(f"ds={day.partition[0][1]}/")}
        for given_files in (by_day, mine):
            alone = cut(given_files, ScopeIndex([day], columns), shard_rows=shard_rows)
            assert alone.get(day.partition, []) == both.get(day.partition, [])


@pytest.mark.promise("T134")
@given(rows=st.integers(1, 10_000_000), shard_rows=st.integers(1, 1_000_000))
def test_a_large_row_group_is_split_into_nearly_equal_ranges(rows, shard_rows):
    shards = cut({"a": (1, rows, 1)}, target_rows=10_000_000, shard_rows=shard_rows)[()]
    ranges = [piece.rows for piece in pieces_of(shards) if piece.row_range is not None]
    if rows < 2 * shard_rows:
        assert not ranges
    else:
        assert len(ranges) == min(MOST_RANGES, round(rows / shard_rows))
        assert max(ranges) - min(ranges) <= 1
        if len(ranges) < MOST_RANGES:
            assert 0.75 * shard_rows - 1 < min(ranges) <= max(ranges) < 1.5 * shard_rows + 1
    assert all(len(shard.pieces) == 1 for shard in shards)


@given(rows=st.integers(100_000, 1_000_000), bytes_of_row=st.integers(1, 1_000_000))
def test_ranges_do_not_read_the_same_bytes_too_often(rows, bytes_of_row):
    """Each reads what lies before its rows: together half of the row group times their number."""
    ranges = list(pieces_of(cut({"a": (rows,)}, bytes_of_row=bytes_of_row, target_bytes=1 << 60, shard_rows=100)[()]))
    assert len(ranges) == 2 or sum(piece.row_range[0] for piece in ranges) * bytes_of_row <= 16 << 30
    assert len(ranges) == MOST_RANGES or len(ranges) == max(2, (32 << 30) // (rows * bytes_of_row))


def lost_and_made(before, after, **how):
    """The shards of small files that a change took away, and those that it made."""
    old, new = ({shard.fingerprint: shard for shard in cut(files, **how).get((), [])} for files in (before, after))
    return tuple(
        [shard for name, shard in mine.items() if name not in theirs and shard.pieces[0].file.path not in LARGE]
        for mine, theirs in ((old, new), (new, old))
    )


LARGE = {f"{number:05}" for number in range(0, 2_000, 37)}
PATHS = st.integers(0, 1_999).map(lambda number: f"{number:05}")


@pytest.mark.promise("T136")
@settings(max_examples=200)
@given(paths=st.sets(PATHS, max_size=250), changed=PATHS, how=st.sampled_from(["add", "remove", "rewrite"]))
def test_a_change_of_one_file_changes_two_shards_of_small_files_at_most(paths, changed, how):
    """Wherever its name sorts, and whether it is a small file or a large one between them."""
    files = {path: (5_000,) if path in LARGE else (int(path) % 90 + 1,) for path in paths}
    small = (5_000,) if changed in LARGE else (int(changed) % 90 + 1,)
    before = (
        {path: groups for path, groups in files.items() if path != changed}
        if how == "add"
        else files | {changed: small}
    )
    after = {path: groups for path, groups in before.items() if path != changed}
    if how != "remove":
        after |= {changed: small if how == "add" else (small[0] + 1,)}
    lost, made = lost_and_made(before, after)
    assert len(lost) <= 2
    assert len(made) <= 2
    assert changed in LARGE or lost or made


def ends_a_shard(path, rows=1):
    """Whether a shard ends after this small file."""
    return len(cut({path: (rows,), f"{path}+": (1,)})[()]) == 2


def test_a_shard_of_small_files_ends_at_four_times_the_average():
    """Up to the next file that ends a shard, a new file then changes all of them; behind it, none."""
    numbers = [f"{number:06}" for number in range(2_000)]
    inner = [path for path in numbers if not ends_a_shard(path)][:600]
    end = next(path for path in numbers if path > inner[-1] and ends_a_shard(path))
    behind = [path for path in numbers if path > end][:300]
    files = dict.fromkeys([*inner, end, *behind], (1,))
    assert [len(shard.pieces) for shard in cut(files)[()]][:3] == [256, 256, 89]
    lost, made = lost_and_made(files, {path: files[path] for path in files if path != inner[0]})
    assert [len(shard.pieces) for shard in lost] == [256, 256, 89]
    assert [len(shard.pieces) for shard in made] == [256, 256, 88]


def mean(numbers):
    return sum(numbers) / len(numbers)


@pytest.mark.promise("T136")
def test_shards_of_small_files_have_64_files_or_4000_rows_or_4_megabytes_on_average():
    """Whichever comes first; less where the shards of the table should be small."""
    assert 55 < mean([len(shard.pieces) for shard in cut(paths(20, rows=10))[()]]) < 75
    assert 3_500 < mean([shard.rows for shard in cut(paths(20, rows=1_000))[()]]) < 4_500
    assert 900 < mean([shard.rows for shard in cut(paths(20, rows=250), shard_rows=4_000)[()]]) < 1_100
    by_bytes = cut(paths(20, rows=100), bytes_of_row=10_000)[()]
    assert 3.5 < mean([shard.bytes for shard in by_bytes]) / (1 << 20) < 4.5


def paths(thousands, rows):
    """That many thousand files of that many rows."""
    return {f"{number:06}": (rows,) for number in range(1_000 * thousands)}


def test_files_above_the_limits_are_not_joined():
    first, second = [path for path in "bcdefghij" if not ends_a_shard(path, SMALL_ROWS)][:2]
    both = {"a": (SMALL_ROWS + 1,), first: (SMALL_ROWS,), second: (SMALL_ROWS,), "x": (SMALL_ROWS + 1,)}
    assert [len(shard.pieces) for shard in cut(both)[()]] == [1, 2, 1]
    assert [len(shard.pieces) for shard in cut(both, shard_rows=16 * SMALL_ROWS - 1)[()]] == [1, 1, 1, 1]
    assert [len(shard.pieces) for shard in cut(both, target_bytes=16 * SMALL_ROWS * BYTES - 1)[()]] == [1, 1, 1, 1]
    assert [len(shard.pieces) for shard in cut(both, bytes_of_row=1_049)[()]] == [1, 1, 1, 1]  # more than 1 MiB
