"""A store that is slow, fails or loses connections: exact rows, a bounded number of requests, and no half part counted."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from faulty_store import SLOW, Fault, every, faulty_store, first
from lake_scorer import OUTPUT, batches_of, expected_rows, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parquet import footers
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.lake.parts import held_file
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.storage import patience
from sparktorch_assets.storage.patience import ATTEMPTS
from sparktorch_assets.tally import Tally

FILES = 6


@pytest.fixture(scope="module")
def store():
    with faulty_store() as found:
        yield found


@pytest.fixture
def source(store, tmp_path):
    """A local folder of files, and their URI."""
    for number in range(FILES):
        write_file(tmp_path / "source", str(number), [number, 10 * number, -1])
    store.reset()
    return tmp_path / "source", store.store.upload(tmp_path / "source", f"{tmp_path.name}/source")


def begin(store, monkeypatch, decide=lambda _: None):
    """A new process, as far as footers go, and a store with these faults."""
    monkeypatch.setattr(footers, "_memory", FooterMemory(1 << 20, most_bytes=1 << 20))
    store.reset(decide)


def is_write(request):
    return request.command in ("PUT", "POST") and "_delta_log" not in request.key


def is_part(request):
    return request.command == "GET" and request.key.endswith(".parquet")


FAULTS = {
    "200 ms a request": lambda: every(1, SLOW),
    "every 20th is refused": lambda: every(20, Fault(status=503)),
    "every 20th fails": lambda: every(20, Fault(status=500)),
    "every 20th is lost": lambda: every(20, Fault(loses="answer")),
    "an upload is lost": lambda: first(2, Fault(loses="upload"), of=is_write),
    "a download is lost": lambda: first(3, Fault(loses="download"), of=is_part),
    "a log entry's download is lost": lambda: first(
        1, Fault(loses="download"), of=lambda request: request.command == "GET" and request.key.endswith(".json")
    ),
    "a commit's answer is lost": lambda: first(
        1, Fault(loses="answer"), of=lambda request: request.command == "PUT" and request.key.endswith("1.json")
    ),
}


@pytest.mark.slow
@pytest.mark.promise("T164")
@pytest.mark.parametrize("size", ["small parts", "large parts"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_refresh_is_exact_and_asks_little_more(store, source, monkeypatch, tmp_path, fault, size):
    """Of a table that is new, and of one that gets a file."""
    if size == "large parts":
        monkeypatch.setattr(held_file, "HELD_BYTES", 100)
    files, uri = source
    asked = {}
    for name, decide in (("without", lambda: lambda _: None), ("with", FAULTS[fault])):
        table = f"{uri}_{name}"
        write_file(files, "0", [0, 0, -1])
        store.reset()
        store.store.upload(files, uri.removeprefix("s3://lake/"))
        begin(store, monkeypatch, decide())
        refresh(uri, table, 2)
        assert rows_of(table) == expected_rows(files, 2)
        write_file(files, "new", [7, 8])
        store.store.upload(files, uri.removeprefix("s3://lake/"))
        refresh(uri, table, 2)
        asked[name], faults = len(store.requests), store.faults
        store.reset()
        assert rows_of(table) == expected_rows(files, 2)
        assert DeltaTable(table).version() == 1
        (files / "new.parquet").unlink()
        store.store._client.delete_object(Bucket="lake", Key=f"{uri.removeprefix('s3://lake/')}/new.parquet")
    assert fault == "200 ms a request" or faults
    # What is looked at again because it is only seconds old differs with the time that a run takes.
    assert asked["with"] <= 1.5 * asked["without"] + 12 * faults


@pytest.mark.promise("T165")
def test_a_commit_whose_answer_is_lost_counts_once(store, source, monkeypatch):
    """The store has carried it out, so it is not repeated, and no conflict with itself."""
    files, uri = source
    table = f"{uri}_table"
    begin(store, monkeypatch)
    refresh(uri, table, 2)
    write_file(files, "new", [7, 8])
    store.store.upload(files, uri.removeprefix("s3://lake/"))
    begin(store, monkeypatch, FAULTS["a commit's answer is lost"]())
    refresh(uri, table, 2)
    assert store.faults == 1
    assert DeltaTable(table).version() == 1
    assert rows_of(table) == expected_rows(files, 2)


@pytest.mark.promise("T162")
def test_a_part_that_another_run_has_replaced_is_committed_as_it_lies(store, source, monkeypatch):
    """Its rows are the same; its size differs, because it records that run's timings."""
    files, uri = source
    table = f"{uri}_twice"
    begin(store, monkeypatch)

    def replace_a_part(step):
        if step == "before commit":
            (shard, *_) = plan_of(uri, f"{uri}_other", 2).new
            folder = Folder(f"{uri}_other")
            with PartWriter(folder, shard.fingerprint, OUTPUT) as writer:
                for batch in batches_of(shard.pieces[0]):
                    writer.write(
                        pa.RecordBatch.from_arrays([*batch.columns, pc.multiply(batch["x"], 2)], schema=OUTPUT)
                    )
                tally = Tally(rows=shard.rows, predicted=shard.rows, classes={"2": shard.rows})
                tally.spend("forward", 1234.56789)
                writer.finish(tally)
            folder.filesystem.copy_file(folder.full(shard.part_path), Folder(table).full(shard.part_path))

    refresh(uri, table, 2, replace_a_part)
    assert rows_of(table) == expected_rows(files, 2)
    assert refresh(uri, table, 2) == (None, [])  # nothing is to be put right


@pytest.mark.promise("T167")
def test_a_writer_that_fails_in_the_middle_leaves_no_part(store, source, monkeypatch):
    """Not even where pyarrow completes the upload of what was written so far."""
    monkeypatch.setattr(held_file, "HELD_BYTES", 100)
    table = f"{source[1]}_half"
    (shard,) = plan_of(source[1], table, 2, target_rows=1_000).new
    folder = Folder(table)
    batch = pa.record_batch([["a"] * 1_000, [1] * 1_000, [2] * 1_000], schema=OUTPUT)
    with PartWriter(folder, shard.fingerprint, OUTPUT) as writer:
        writer.write(batch)
        writer._flush(is_last=False)
        store.reset()
    assert store.counts()["PUT"]  # leaving it without `finish` has completed the upload of the temporary name
    assert [entry.path for entry in folder.files()] == []
    assert len(plan_of(source[1], table, 2, target_rows=1_000).new) == 1


@pytest.mark.slow
@pytest.mark.promise("T166")
def test_a_store_that_refuses_everything_is_given_up(store, source, monkeypatch):
    begin(store, monkeypatch, every(1, Fault(status=503)))
    with pytest.raises(TableError, match="cannot read the Delta table"):
        plan_of(source[1], f"{source[1]}_none", 2)
    assert len(store.requests) <= 40
    begin(store, monkeypatch, every(1, Fault(status=503)))
    with pytest.raises(OSError, match="503"):
        Folder(source[1]).info("0.parquet")
    assert len(store.requests) == ATTEMPTS


@pytest.mark.slow
@pytest.mark.promise("T166")
def test_a_silent_store_is_waited_for_but_not_forever(store, source, monkeypatch):
    begin(store, monkeypatch, every(1, Fault(delay_s=6)))  # twice what the AWS SDK waits for by itself
    assert Folder(source[1]).info("0.parquet") is not None
    assert len(store.requests) == 1
    monkeypatch.setattr(patience, "SILENT_S", 1.0)
    begin(store, monkeypatch, every(1, Fault(delay_s=6)))
    with pytest.raises(OSError, match="Timeout was reached"):
        Folder(source[1]).info("0.parquet")
    assert len(store.requests) <= ATTEMPTS + 1
