"""Rows that Spark reads are written into a store by its Python workers, as they would be written into a folder."""

import os

import pytest
from deltalake import DeltaTable
from s3_store import s3_store

from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.tasks import InputTable

TABLE = InputTable(
    name="numbers",
    source="source/*.jsonl",
    format="json",
    columns={"n": "long", "t": "timestamp", "d": "date", "l": "list<float>", "s": "string", "b": "byte"},
    max_rejected_share=1,
)
ROW = '{{"n": {0}, "t": "2013-01-01T10:00:00", "d": "1500-02-03", "l": [0.5, null], "s": "ä{0}", "b": 7}}'


def rows(uri):
    return sorted(map(str, DeltaTable(uri).to_pyarrow_table().to_pylist()))


@pytest.mark.promise("T158")
def test_the_rows_and_the_malformed_ones_are_those_of_a_folder(spark, tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    for name, numbers in (("a", range(5)), ("b", range(5, 9)), ("empty", ())):
        lines = [ROW.format(number) for number in numbers]
        (tmp_path / "source" / f"{name}.jsonl").write_text("\n".join([*lines, '{"n": "x"}']))
    with s3_store() as store:
        for name, value in os.environ.items():
            if name.startswith("AWS_"):  # the session is older than the store
                monkeypatch.setitem(spark.sparkContext.environment, name, value)
        local, remote = str(tmp_path / "lake" / "numbers"), store.uri(f"{tmp_path.name}/numbers")
        reports = [materialize_input(spark, TABLE, project_root=tmp_path, table_uri=uri) for uri in (local, remote)]
        assert [(report.rows, report.rejected_rows, report.files_new) for report in reports] == [(9, 3, 3)] * 2
        assert rows(remote) == rows(local)
        assert rows(f"{remote}__rejected") == rows(f"{local}__rejected")
        again = materialize_input(spark, TABLE, project_root=tmp_path, table_uri=remote)
        assert not again.changed
