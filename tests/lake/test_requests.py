"""Planning asks a store for each thing once."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import convert_to_deltalake, write_deltalake
from lake_scorer import INPUT, OUTPUT, carry_out, write_file
from s3_store import s3_store

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.parquet import footers
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.lake.parquet.kept import kept_footers
from sparktorch_assets.lake.parquet.kept.kept_footers import KeptFooters
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.table import Table

FILES = 8


@pytest.fixture(scope="module")
def store():
    with s3_store() as found:
        yield found


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(kept_footers, "_FEW_FILES", 4)
    monkeypatch.setattr(footers, "_YOUNG_SECONDS", -1)


@pytest.fixture
def forget(monkeypatch):
    """Makes this process know as little as a new one."""
    return lambda: monkeypatch.setattr(footers, "_memory", FooterMemory(1 << 30, most_bytes=1 << 30))


def plan_of(source, output):
    source, output = Table(source), Table(output)
    kept = KeptFooters(output.folder, bounds=False)
    kept.recall(source.files)
    assert source.schema == INPUT
    return make_plan(source, output, schema=OUTPUT, digest="d"), lambda: kept.keep(source.files)


@pytest.mark.promise("T140")
@pytest.mark.promise("T141")
@pytest.mark.parametrize("kind", ["folder", "delta"])
def test_a_footer_costs_one_request_and_none_in_the_next_process(store, forget, tmp_path, kind):
    """The folders are listed once each, however many files there are."""
    for number in range(FILES):
        write_file(tmp_path / "folder" / f"a b%2F{number % 2}", str(number), [number])
        rows = pq.read_table(tmp_path / "folder" / f"a b%2F{number % 2}" / f"{number}.parquet")
        write_deltalake(str(tmp_path / "delta"), rows, mode="append")
    source = store.upload(tmp_path / kind, f"{kind}/source")
    forget()
    with store.recorded() as cold:
        plan, _ = plan_of(source, str(tmp_path / "out"))
    assert cold["GET *.parquet"] == FILES
    assert cold["HEAD *.parquet"] == 0
    assert cold[f"list {kind}/source/"] == (1 if kind == "folder" else 0)
    carry_out(plan, tmp_path / "out", 2)
    output = store.upload(tmp_path / "out", f"{kind}/out")
    plan, keep = plan_of(source, output)
    assert not plan.changes
    keep()
    forget()
    with store.recorded() as again:
        plan, keep = plan_of(source, output)
        keep()
    assert not plan.changes
    assert again["GET *.parquet"] == again["HEAD *.parquet"] == 0
    assert again[f"list {kind}/source/"] == cold[f"list {kind}/source/"]
    assert again[f"list {kind}/out/"] == 1
    assert again[f"GET {kind}/out/.footers"] == 2
    assert again[f"PUT {kind}/out/.footers"] == again[f"POST {kind}/out/.footers"] == 0
    with store.recorded() as warm:
        plan_of(source, output)
    assert warm[f"GET {kind}/out/.footers"] == warm["GET *.parquet"] == 0


@pytest.mark.promise("T140")
def test_a_footer_longer_than_what_is_read_at_once_takes_a_second_request(store, forget, tmp_path, monkeypatch):
    write_file(tmp_path, "a", [1, 2, 3])
    source = store.upload(tmp_path, "long")
    size = (tmp_path / "a.parquet").stat().st_size
    expected = pq.read_metadata(tmp_path / "a.parquet")
    for tail, requests in ((size, 1), (100, 2)):
        forget()
        monkeypatch.setattr(footers, "TAIL_BYTES", tail)
        with store.recorded() as seen:
            (footer,) = footers.read_footers(Table(source).files)
        assert seen["GET *.parquet"] == requests
        assert footer.metadata().equals(expected)


@pytest.mark.promise("T140")
def test_an_object_that_was_written_again_is_read_again(store, forget, tmp_path):
    """If its size or the second of its time differs; whoever reads its rows compares the footer as well."""
    write_file(tmp_path, "a", [1, 2, 3])
    source = store.upload(tmp_path, "again")
    forget()
    (first,) = footers.read_footers(Table(source).files)
    write_file(tmp_path, "a", [1, 2, 3, 4])
    store.upload(tmp_path, "again")
    (second,) = footers.read_footers(Table(source).files)
    assert (first.rows, second.rows) == (3, 4)


@pytest.mark.promise("T140")
def test_a_delta_table_written_anew_with_the_names_and_sizes_of_another_is_read_again(store, forget, tmp_path):
    """Also by a process that finds the footers kept: otherwise no run could read the rows that it has planned."""
    digests = []
    for attempt, first in enumerate((0, 50)):
        for number in range(FILES):
            write_file(tmp_path / f"{attempt}", str(number), [first + number])
        convert_to_deltalake(str(tmp_path / f"{attempt}"))
        source = store.upload(tmp_path / f"{attempt}", "anew")
        forget()
        _, keep = plan_of(source, store.uri("anew_out"))
        keep()
        digests.append([footer.digest for footer in footers.read_footers(Table(source).files)])
    sizes = [[file.size_bytes for file in Table(str(tmp_path / name)).files] for name in "01"]
    assert sizes[0] == sizes[1]
    assert not set(digests[0]) & set(digests[1])


@pytest.mark.promise("T140")
def test_an_object_that_was_written_twice_in_a_second_is_read_again(store, forget, tmp_path, monkeypatch):
    """With the same size, and so the same listing."""
    monkeypatch.setattr(footers, "_YOUNG_SECONDS", 5)
    for attempt in range(9):
        forget()
        path, seen = f"second{attempt}", []
        for row in (1, 2):
            write_file(tmp_path, "a", [row])
            (file,) = Table(store.upload(tmp_path, path)).files
            seen.append((file.size_bytes, file.modified_ms, footers.read_footers([file])[0].digest))
        if seen[0][:2] == seen[1][:2]:
            break
    assert seen[0][:2] == seen[1][:2]
    assert seen[0][2] != seen[1][2]


def test_a_log_with_another_size_or_an_object_that_is_gone(store, forget, tmp_path):
    """The first is read nevertheless, by asking for the size; the second is an error."""
    write_file(tmp_path, "a", [1, 2, 3])
    (file,) = Table(store.upload(tmp_path, "gone")).files
    forget()
    for size in (file.size_bytes - 1, file.size_bytes + 1):
        resized = type(file)(uri=file.uri, path=file.path, size_bytes=size, modified_ms=1, logged_path=file.path)
        (footer,) = footers.read_footers([resized])
        assert footer.rows == 3
    missing = type(file)(uri=f"{file.uri}x", path="x", size_bytes=500, modified_ms=1)
    with pytest.raises(TableError, match="cannot read the footer of"):
        footers.read_footers([missing])


@pytest.mark.promise("T140")
def test_a_store_whose_uri_carries_options_is_read_by_pyarrow(store, forget, tmp_path):
    """delta-rs takes an endpoint from the environment alone, which may name another store."""
    write_file(tmp_path, "a", [1, 2, 3])
    (file,) = Table(store.upload(tmp_path, "options")).files
    host = store.endpoint.removeprefix("http://").replace(":", "%3A")
    forget()
    uri = f"{file.uri}?scheme=http&endpoint_override={host}&region=us-east-1"
    optional = type(file)(uri=uri, path=file.path, size_bytes=file.size_bytes, modified_ms=file.modified_ms)
    with store.recorded() as seen:
        (footer,) = footers.read_footers([optional])
    assert footer.schema == pa.schema(INPUT)
    assert seen["HEAD *.parquet"] == 1
