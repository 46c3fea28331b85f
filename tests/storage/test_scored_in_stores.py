"""Tables, models and inputs in stores that only storage options open: nothing in the environment or in a file would."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from guarded_store import BUCKET, MODELS, GuardedStore, guarded_store, without_environment
from numbers_task import TASK, numbers
from tiny_onnx import write_linear

import sparktorch_assets as sta
from sparktorch_assets.errors import TableError
from sparktorch_assets.predict.encode.stored_files import StoredFiles
from sparktorch_assets.storage.scopes import StorageScopes

ROWS = 30
INPUT, OUTPUT = f"s3://{MODELS}/inputs/numbers", f"s3://{BUCKET}/lake/predictions/net"


@pytest.fixture(scope="module")
def stores():
    """The store of inputs and models, and that of the lake."""
    with guarded_store() as one, guarded_store() as other:
        yield one, other


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch, tmp_path):
    without_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("SPARKTORCH_MODEL_CACHE", str(tmp_path / "cache"))
    yield
    StorageScopes().use()


@pytest.fixture
def world(stores, tmp_path):
    """Rows, of which one fails, and a model in one store; the options of both."""
    source, lake = stores
    (tmp_path / "net").mkdir()
    write_linear(tmp_path / "net" / "m.onnx")
    source.upload(tmp_path / "net", MODELS, "net")
    write_deltalake(INPUT, numbers(ROWS), storage_options=source.options, mode="overwrite")
    sta.set_storage_options(f"s3://{MODELS}", source.options)
    sta.set_storage_options(f"s3://{BUCKET}/lake", lake.options)
    return source, lake


def score(spark, source=INPUT, **options):
    loader = sta.ModelLoader(f"s3://{MODELS}", device="cpu")
    return sta.score_table(spark, source, TASK, output_table=OUTPUT, model_loader=loader, **options)


def rows_of(store: GuardedStore, uri: str) -> list[dict[str, object]]:
    return DeltaTable(uri, storage_options=store.options).to_pyarrow_table().to_pylist()


def workers_environment(spark) -> str:
    def find(batches):
        for _ in batches:
            found = sorted(name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE")
            yield pa.RecordBatch.from_pydict({"found": [",".join(found)]})

    (row,) = spark.range(0, 1, 1, 1).mapInArrow(find, "found string").collect()
    return row["found"]


@pytest.mark.promise("T147")
@pytest.mark.promise("T148")
def test_two_stores_are_opened_each_with_its_own_options_also_by_workers(spark, world):
    """Input and models are in one, and the predictions in another, which refuses the key of the first."""
    source, lake = world
    assert workers_environment(spark) == ""
    report = score(spark)
    assert (report.version, report.changed, report.rows_table, report.tally.failed) == (0, True, ROWS, 1)
    assert len(rows_of(lake, OUTPUT)) == ROWS
    assert not score(spark).changed
    write_deltalake(INPUT, numbers(ROWS + 1), storage_options=source.options, mode="append")
    assert score(spark).version == 1
    assert len(rows_of(lake, OUTPUT)) == 2 * ROWS + 1


@pytest.mark.promise("T147")
def test_every_function_that_takes_a_tables_address_opens_it(spark, world):
    report = score(spark)
    loader = sta.ModelLoader(f"s3://{MODELS}", device="cpu")
    assert not sta.plan_table(INPUT, TASK, output_table=OUTPUT, model_loader=loader).new
    assert sta.table_version(OUTPUT) == report.version
    assert sta.data_version(OUTPUT) == report.data_version
    assert sta.failed_rows(OUTPUT).num_rows == report.tally.failed > 0
    assert sta.vacuum(OUTPUT, dry_run=True).files == ()
    derived = f"s3://{BUCKET}/lake/derived"
    assert sta.write_if_changed(derived, pa.table({"x": [1]}), "one")
    assert not sta.write_if_changed(derived, pa.table({"x": [1]}), "one")
    assert rows_of(world[1], derived) == [{"x": 1}]


@pytest.mark.promise("T147")
def test_files_that_a_column_names_are_read_with_the_options_of_their_addresses(world, tmp_path):
    source, lake = world
    for store, name in ((source, "one"), (lake, "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a b.txt").write_text(name)
        store.upload(tmp_path / name, BUCKET, f"lake/{name}")
    sta.set_storage_options(f"s3://{BUCKET}/lake/one", source.options)  # the bucket's name says nothing of the store
    files = StoredFiles(None)
    for name in ("one", "other"):
        with files.content(f"s3a://{BUCKET}/lake/{name}/a%20b.txt") as content:
            assert content.decode() == name


@pytest.mark.promise("T147")
def test_a_folder_of_parquet_files_and_rows_of_a_dataframe(spark, world, tmp_path):
    source, lake = world
    (tmp_path / "in").mkdir()
    pq.write_table(numbers(ROWS), tmp_path / "in" / "a.parquet")
    folder = source.upload(tmp_path / "in", MODELS, "folder")
    output = f"s3://{BUCKET}/lake/of_folder"
    loader = sta.ModelLoader(f"s3://{MODELS}", device="cpu")
    report = sta.score_table(spark, folder, TASK, output_table=output, model_loader=loader)
    assert report.rows_table == len(rows_of(lake, output)) == ROWS
    rows = spark.createDataFrame([(1.0, 2.0), (3.0, 4.0)], "a double, b double")
    predicted = sta.spark_ml_predict(spark, rows, TASK, model_loader=loader)
    assert {row["predicted_class"] for row in predicted.collect()} <= {"x", "y", "z"}


@pytest.mark.promise("T149")
def test_workers_use_the_options_of_the_latest_job(spark, world):
    """Also in processes that have worked with others before."""
    source, lake = world
    score(spark)
    write_deltalake(INPUT, numbers(ROWS + 2), storage_options=source.options, mode="overwrite")
    sta.set_storage_options(f"s3://{BUCKET}/lake", lake.options | {"aws_secret_access_key": "another"})
    with pytest.raises((TableError, OSError)):
        score(spark)
    sta.set_storage_options(f"s3://{BUCKET}/lake", lake.options)
    assert score(spark).rows_table == ROWS + 2


@pytest.mark.promise("T154")
def test_what_the_options_leave_out_comes_from_the_environment(world, monkeypatch):
    _, lake = world
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", lake.options["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", lake.secret)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody is there: the options come first
    keyless = {name: value for name, value in lake.options.items() if "key" not in name}
    sta.set_storage_options(f"s3://{BUCKET}/lake", keyless)
    written = f"s3://{BUCKET}/lake/of_environment"
    assert sta.write_if_changed(written, pa.table({"x": [3]}), "one")
    assert rows_of(lake, written) == [{"x": 3}]


def test_the_key_of_one_store_does_not_open_the_other(world):
    """The tests above would pass with any key otherwise."""
    source, lake = world
    keys = {name: value for name, value in source.options.items() if "key" in name}
    sta.set_storage_options(f"s3://{BUCKET}/lake", lake.options | keys)
    with pytest.raises(TableError, match="InvalidAccessKeyId"):
        sta.table_version(OUTPUT)
    with pytest.raises(TableError, match="InvalidAccessKeyId"):
        sta.write_if_changed(f"s3://{BUCKET}/lake/derived", pa.table({"x": [2]}), "two")
