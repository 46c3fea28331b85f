"""A store lists a thousand objects per request."""

import json

import pytest
from faulty_store import faulty_store
from lake_scorer import OUTPUT
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from s3_store import BUCKET

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.table import Table

PARTS = 10_000


@pytest.mark.slow
@pytest.mark.promise("T163")
def test_ten_thousand_parts_are_listed_in_pages_and_a_missing_one_is_found():
    """All of them, each once, whether a page ends or not."""
    with faulty_store() as store:
        names = [f"part-{number:032x}.parquet" for number in range(PARTS)]
        server = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # in this process: ten thousand requests would take a minute
        for name in names:
            server.put_object(BUCKET, f"table/{name}", b"1234567")
        schema = {"type": "struct", "fields": [
            {"name": name, "type": "string" if name == "id" else "long", "nullable": True, "metadata": {}}
            for name in OUTPUT.names
        ]}  # fmt: skip
        actions = [
            {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
            {"metaData": {"id": "1", "format": {"provider": "parquet", "options": {}}, "schemaString": json.dumps(schema),
                          "partitionColumns": [], "configuration": {}, "createdTime": 1}},
            *({"add": {"path": name, "partitionValues": {}, "size": 7, "modificationTime": 1, "dataChange": True}}
              for name in names),
        ]  # fmt: skip
        with Folder(store.uri("table")).open_output("_delta_log/00000000000000000000.json") as log:
            log.write("\n".join(map(json.dumps, actions)).encode())
        store.reset()
        table = Table(store.uri("table"))
        assert len(table.snapshot.parts) == PARTS
        assert table.lost_parts() == set()
        listings = [request for request in store.requests if request.key == "list table/"]
        assert PARTS / 1000 <= len(listings) <= PARTS / 1000 + 1
        for number in (0, 999, 1000, 5432, PARTS - 1):
            Folder(store.uri("table")).delete(names[number])
        assert table.lost_parts() == {names[number] for number in (0, 999, 1000, 5432, PARTS - 1)}
