"""Rules that others set on an output table: those that files could break are refused in planning, others are left alone."""

import json

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from lake_scorer import OUTPUT, expected_rows, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import same_columns


@pytest.fixture
def lake(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3])
    refresh(source, table, 2)
    return source, table


def _log_action(table, action):
    """Commit an action that delta-rs has no call for."""
    version = DeltaTable(str(table)).version() + 1
    (table / "_delta_log" / f"{version:020}.json").write_text(json.dumps(action))


def _with_column(table, **changes):
    metadata = DeltaTable(str(table)).metadata()
    fields = json.loads(DeltaTable(str(table)).schema().to_json())
    fields["fields"][2] |= changes
    return {
        "metaData": {
            "id": metadata.id,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(fields),
            "partitionColumns": [],
            "configuration": {},
        }
    }


RULES = {
    "CHECK constraint": (lambda table: DeltaTable(str(table)).alter.add_constraint({"small": "y < 100"}), "'small'"),
    "append only": (
        lambda table: DeltaTable(str(table)).alter.set_table_properties({"delta.appendOnly": "true"}),
        "delta.appendOnly",
    ),
    "invariant": (
        lambda table: _log_action(table, _with_column(table, metadata={"delta.invariants": '{"expression":"y > 0"}'})),
        "an invariant on column 'y'",
    ),
    "generated column": (
        lambda table: _log_action(table, _with_column(table, metadata={"delta.generationExpression": "x * 2"})),
        "a generation expression on column 'y'",
    ),
    "bounds of other columns": (
        lambda table: DeltaTable(str(table)).alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "-1"}),
        "delta.dataSkipping",
    ),
    "not null": (lambda table: _log_action(table, _with_column(table, nullable=False)), "NOT NULL on column 'y'"),
    "unknown feature": (
        lambda table: _log_action(
            table, {"protocol": {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking"]}}
        ),
        "the writer feature 'rowTracking'",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_table_with_rules_that_files_could_break_is_refused_in_planning(lake, rule):
    source, table = lake
    apply, named = RULES[rule]
    apply(table)
    before = DeltaTable(str(table)).version()
    write_file(source, "b", [1000])
    with pytest.raises(TableError, match=r"Drop the rule, or give these rows a table of their own") as refused:
        plan_of(source, table, 2)
    assert named in str(refused.value)
    with pytest.raises(TableError, match="Drop the rule"):  # a rule that came while the run worked
        commit_parts(str(table), OUTPUT, add=[], remove=[], metadata={}, read_version=before)
    assert DeltaTable(str(table)).version() == before


def test_comments_of_others_stay_and_rescore_nothing(lake):
    """A comment on a column or on the table is neither a change of the table nor lost by the next refresh."""
    source, table = lake
    DeltaTable(str(table)).alter.set_column_metadata("y", {"comment": "twice x"})
    DeltaTable(str(table)).alter.set_table_description("what x becomes")
    assert not plan_of(source, table, 2).changes
    write_file(source, "b", [7])
    _, computed = refresh(source, table, 2)
    assert len(computed) == 1
    assert rows_of(table) == expected_rows(source, 2)
    fields = json.loads(DeltaTable(str(table)).schema().to_json())["fields"]
    assert fields[2]["metadata"] == {"comment": "twice x"}
    assert DeltaTable(str(table)).metadata().description == "what x becomes"


def test_columns_are_the_same_by_names_types_and_order():
    one = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.string()))])
    noted = pa.schema([pa.field("a", pa.int64(), nullable=False, metadata={"comment": "x"}), one.field("b")])
    assert same_columns(one, noted)
    assert not same_columns(None, one)
    assert not same_columns(one, pa.schema([one.field("b"), one.field("a")]))
    assert not same_columns(one, pa.schema([pa.field("a", pa.int32()), one.field("b")]))
