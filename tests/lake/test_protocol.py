"""A reader feature that is not known here is refused, by name, before anything is read."""

import pyarrow as pa
import pytest
from delta_log import column, put_file, write_log
from lake_scorer import INPUT, plan_of

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.table import Table

COLUMNS = [column("id", "string"), column("x", "long")]
HONOURED = ["columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "variantType"]
REFUSED = ["typeWidening", "typeWidening-preview", "variantType-preview", "fooBar", "catalogManaged", "rowTracking"]


def make(table, columns=COLUMNS, **protocol):
    action = put_file(table, "a.parquet", pa.table({"id": ["a"], "x": [1]}, schema=INPUT))
    write_log(table, columns, [action], **protocol)


@pytest.mark.parametrize("feature", HONOURED)
def test_a_known_feature_is_read(tmp_path, feature):
    make(tmp_path, features=[feature])
    assert Table(str(tmp_path)).row_count() == plan_of(tmp_path, tmp_path / "out", 1).rows == 1


@pytest.mark.promise("T32", "T35")
@pytest.mark.parametrize("feature", REFUSED)
def test_any_other_feature_is_refused_by_name(tmp_path, feature):
    """By us, or by delta-rs, which does not know all of them either."""
    make(tmp_path, features=[feature, "deletionVectors"])
    for question in (Table, lambda table: plan_of(table, tmp_path / "out", 1)):
        with pytest.raises(TableError, match=r"(?i)the Delta table.*" + feature.replace("catalogM", "catalog.?m")):
            question(str(tmp_path))


@pytest.mark.promise("T35")
def test_a_variant_column_is_refused_wherever_it_stands(tmp_path):
    for kind in ("variant", {"type": "array", "elementType": "variant", "containsNull": True}):
        make(tmp_path, [*COLUMNS, column("v", kind)], features=["variantType"])
        with pytest.raises(TableError, match="a column of type variant"):
            Table(str(tmp_path)).schema


def test_a_newer_protocol_is_refused(tmp_path):
    make(tmp_path, reader=4)
    with pytest.raises(TableError, match="the Delta table"):
        Table(str(tmp_path)).schema
