"""The section about storage of docs/clusters.md is true, block by block."""

import re

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from guarded_store import guarded_store, without_environment
from page_blocks import ROOT, blocks_run_by

from sparktorch_assets.storage.scopes import StorageScopes
from sparktorch_assets.storage.storage_options import find_key, store_of

PAGE = ROOT / "docs" / "clusters.md"
BLOCKS = {block.first_line: block for block in blocks_run_by(__file__)}


@pytest.fixture(scope="module")
def store():
    with guarded_store() as found:
        yield found


@pytest.fixture(autouse=True)
def _set(store, monkeypatch, tmp_path):
    without_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("LAKE_ENDPOINT", store.endpoint)
    monkeypatch.setenv("LAKE_KEY_ID", store.options["aws_access_key_id"])
    monkeypatch.setenv("LAKE_SECRET", store.secret)
    yield
    StorageScopes().use()


def test_the_call_opens_the_table(store):
    write_deltalake("s3://lake/predictions/digit", pa.table({"x": [1]}), storage_options=store.options)
    names: dict[str, object] = {}
    exec(BLOCKS["import os"].text, names)
    assert names["version"] == 0


@pytest.mark.promise("T153")
def test_the_resources_open_the_lake_and_so_does_an_asset_of_ones_own(store):
    names: dict[str, object] = {}
    exec(BLOCKS["import dagster as dg"].text, names)
    key = dg.AssetKey("own")
    write_deltalake("s3://lake/tables/own", pa.table({"x": [5]}), storage_options=store.options)
    with dg.build_resources({"lake": names["runtime"].resources["lake"]}) as resources:
        lake = resources.lake
        opened = DeltaTable(lake.table_uri(key), storage_options=lake.delta_options())
        assert opened.to_pyarrow_table().to_pylist() == [{"x": 5}]
        assert lake.tables_beside(key) == ["own"]


def test_the_table_of_options_names_all_of_them_and_which_are_secret():
    page = PAGE.read_text()
    for line, uri in (("| S3 |", "s3://b"), ("| Google |", "gs://b"), ("| Azure |", "az://b")):
        (row,) = (found for found in page.splitlines() if found.startswith(line))
        *_, plain, secret, _ = row.split("|")
        for column, is_secret in ((plain, False), (secret, True)):
            for name in re.findall(r"`(\w+_\w+)`", column):
                key = find_key(uri, name)
                assert (key.name, key.secret) == (name, is_secret)
        named = set(re.findall(r"`(\w+_\w+)`", page))
        assert {key.name for key in store_of(uri).keys} <= named
