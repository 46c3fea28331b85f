"""Sources of an input table in a store: which objects count, and when one is another."""

import gzip

import pytest
from s3_store import s3_store

from sparktorch_assets.errors import InputSchemaError, TableError
from sparktorch_assets.orchestration.watching.look import look_at_sources
from sparktorch_assets.spark.inputs import objects
from sparktorch_assets.spark.inputs.check import check_sources
from sparktorch_assets.spark.inputs.places import places_of
from sparktorch_assets.spark.inputs.read import SourceReader
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.tasks import InputTable


@pytest.fixture(scope="module")
def store():
    with s3_store() as found:
        yield found


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(objects, "_SETTLED_S", 0)


@pytest.fixture
def uri(store, tmp_path):
    """The URI of a folder with some CSV files and some others."""
    for name in ("a.csv", "b c.csv", "2013/d.csv", "2013/01/e.csv.gz", "_hidden.csv", "readme.md"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"x\n1\n") if name.endswith(".gz") else b"x\n1\n")
    return store.upload(tmp_path / "source", tmp_path.name)


def table(*source, **fields):
    return InputTable(
        name="numbers", source=source, format="csv", columns={"x": "long"}, options={"header": True}, **fields
    )


def found(root, *source):
    return {file.name for file in find_sources(table(*source), root)}


@pytest.mark.promise("T157")
def test_a_uri_names_an_object_a_folder_or_a_pattern(uri, tmp_path):
    everything = {f"{uri}/{name}" for name in ("a.csv", "b%20c.csv", "2013/d.csv", "2013/01/e.csv.gz")}
    assert found(tmp_path, uri) == found(tmp_path, f"{uri}/") == everything
    assert found(tmp_path, f"{uri}/a.csv") == {f"{uri}/a.csv"}
    assert found(tmp_path, f"{uri}/*.csv") == {f"{uri}/a.csv", f"{uri}/b%20c.csv"}
    assert found(tmp_path, f"{uri}/*/*.csv") == {f"{uri}/2013/d.csv"}
    assert found(tmp_path, f"{uri}/**/*.csv*") == everything
    assert found(tmp_path, f"{uri}/[a-c].csv", f"{uri}/a.csv") == {f"{uri}/a.csv"}
    (tmp_path / "local.csv").write_text("x\n1\n")
    assert found(tmp_path, f"{uri}/a.csv", "local.csv") == {f"{uri}/a.csv", "local.csv"}


@pytest.mark.promise("T157")
def test_what_cannot_be_meant_is_refused(store, uri, tmp_path):
    for source, message in (
        (f"{uri}/none/*.csv", "matches no file: looked for .*none.*Correct the URI"),
        (f"{uri}/2013/01/none", "where no file ends in"),
        (f"{uri}/?.csv", "a question mark begins a URI's options"),
        ("s3://key:secret@lake/a.csv", "contains a password"),
    ):
        with pytest.raises(TableError, match=message) as caught:
            find_sources(table(source), tmp_path)
        assert "secret@" not in str(caught.value)
    (tmp_path / "delta" / "_delta_log").mkdir(parents=True)
    (tmp_path / "delta" / "_delta_log" / f"{0:020}.json").write_text("{}")
    (tmp_path / "delta" / "ds=1").mkdir()
    (tmp_path / "delta" / "ds=1" / "a.csv").write_text("x\n1\n")
    delta = store.upload(tmp_path / "delta", f"{tmp_path.name}_delta")
    for source in (delta, f"{delta}/ds=1", f"{delta}/ds=1/a.csv", f"{delta}/*/*.csv"):
        with pytest.raises(TableError, match=f"files of the Delta table {delta} as well"):
            find_sources(table(source), tmp_path)


@pytest.mark.promise("T157")
def test_an_object_that_is_written_again_is_another_source(store, uri, tmp_path, monkeypatch):
    """Also within the second of its time: it is looked at again once that has passed."""
    monkeypatch.setattr(objects, "_SETTLED_S", 2)
    (before,) = find_sources(table(f"{uri}/a.csv"), tmp_path)
    seen = look_at_sources(table(f"{uri}/a.csv"), tmp_path)
    assert not before.has_changed()
    (tmp_path / "source" / "a.csv").write_text("x\n2\n")
    store.upload(tmp_path / "source", tmp_path.name)
    assert before.has_changed()
    (after,) = find_sources(table(f"{uri}/a.csv"), tmp_path)
    assert after.fingerprint != before.fingerprint
    assert look_at_sources(table(f"{uri}/a.csv"), tmp_path) != seen


def test_headers_are_compared_before_a_job(uri, tmp_path):
    check_sources(table(uri), find_sources(table(uri), tmp_path))
    other = InputTable(name="n", source=uri, format="csv", columns={"y": "long"}, options={"header": True})
    with pytest.raises(
        InputSchemaError, match=r"the header of s3://.* does not match the declared columns \(missing: y"
    ):
        check_sources(other, find_sources(other, tmp_path))


class Conf:
    """A session's settings."""

    def __init__(self, master):
        self.conf = {"spark.master": master}


@pytest.mark.promise("T158")
def test_objects_are_copied_for_the_time_of_a_local_job_and_left_to_the_spark_of_a_cluster(uri, tmp_path):
    sources = find_sources(table(f"{uri}/*.csv"), tmp_path)
    with places_of(Conf("local[2]"), sources) as places:
        copies = [tmp_path / place for place in places]
        assert [copy.read_bytes() for copy in copies] == [b"x\n1\n"] * 2
    assert not any(copy.exists() for copy in copies)
    with places_of(Conf("spark://host:7077"), sources) as places:
        bucket = uri.replace("s3://", "s3a://")
        assert set(places) == {f"{bucket}/a.csv", f"{bucket}/b c.csv"}


@pytest.mark.promise("T158")
def test_a_spark_without_a_file_system_for_the_store_is_told_which_jar_it_needs(spark, uri, tmp_path):
    (source,) = find_sources(table(f"{uri}/a.csv"), tmp_path)
    with pytest.raises(TableError, match="set spark.jars.packages to org.apache.hadoop:hadoop-aws"):
        SourceReader(spark, table(f"{uri}/a.csv"), {"s3a://lake/a.csv": source})
