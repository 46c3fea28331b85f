"""Two columns of one name, upper and lower case being the same, are refused where they are declared or planned."""

import dataclasses
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.spark.score.table import plan_table
from sparktorch_assets.tasks import ClassificationOutput, Hooks, InputTable, MlTask, ModelSpec, NumericFeature
from sparktorch_assets.tasks.column_names import clash

TASK = MlTask(
    name="t",
    input="table",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
    hooks=Hooks(row_postprocessor="json:loads"),
)
NAMES = st.sampled_from(["a", "A", "b", "straße", "STRASSE", "ß", "İ", "i"])


@given(st.lists(NAMES))
def test_a_clash_is_two_names_of_the_list_that_are_one_in_lower_case(names):
    pair = clash(names)
    if pair is None:
        assert len({name.lower() for name in names}) == len(names)
    else:
        assert pair[0].lower() == pair[1].lower()
        assert names.count(pair[0]) >= (2 if pair[0] == pair[1] else 1)


@pytest.mark.parametrize(
    ("changes", "pair"),
    [
        ({"keep_columns": ["id", "Id"]}, "'id' and 'Id'"),
        ({"hook_columns": {"Confidence": "double"}}, "'confidence' and 'Confidence'"),
        ({"hook_columns": {"one": "int", "ONE": "int"}}, "'ONE' and 'one'"),
        ({"hook_columns": {"scores": "int", "Embedding": "int"}, "output": ClassificationOutput(embedding=True)}, "'embedding' and 'Embedding'"),
        ({"hook_columns": {"T_confidence": "int"}, "output_prefix": "t_"}, "'t_confidence' and 'T_confidence'"),
    ],
)  # fmt: skip
def test_a_task_that_declares_twins_is_refused(changes, pair):
    with pytest.raises(TaskError, match=f"{pair}, which differ only in case"):
        dataclasses.replace(TASK, **changes)


def test_an_input_table_that_declares_twins_is_refused():
    with pytest.raises(TaskError, match="columns names 'Id' and 'id', which differ only in case"):
        InputTable(name="t", source="a/*", format="csv", columns={"Id": "int", "id": "string"})


INPUTS = [
    (["x", "y", "Y"], {}, "columns 'y' and 'Y', which differ only in case"),
    (["x", "X"], {}, "columns 'x' and 'X', which differ only in case"),
    (["x", "y", "y"], {}, "columns 'y' twice"),
    (["x", "x"], {}, "columns 'x' twice"),
    (["x", "y", "Y"], {"keep_columns": ["x"]}, "columns 'y' and 'Y', which differ only in case"),
    (["x", "confidence"], {}, "already has 'confidence', which the predictions would overwrite.*output_prefix"),
    (["x", "Confidence"], {}, "already has 'Confidence' \\('confidence'\\), which the predictions would overwrite"),
    (["x", "PREDICTION_ERROR"], {}, "already has 'PREDICTION_ERROR' \\('prediction_error'\\)"),
    (["x", "Mine"], {"hook_columns": {"mine": "int"}}, "already has 'Mine' \\('mine'\\)"),
    (["x", "P_Confidence"], {"output_prefix": "p_"}, "already has 'P_Confidence' \\('p_confidence'\\)"),
]


@pytest.mark.promise("T43")
@pytest.mark.parametrize(("columns", "changes", "message"), INPUTS)
def test_twins_in_the_input_end_the_planning(columns, changes, message, tmp_path):
    """In every way to plan: the schema of the result, a table of files, and rows at hand."""
    task = dataclasses.replace(TASK, **changes)
    batch = pa.RecordBatch.from_arrays([pa.array([1.0, 2.0])] * len(columns), names=columns)
    with pytest.raises(InputSchemaError, match=message):
        output_schema(task, batch.schema)
    with pytest.raises(InputSchemaError, match=message):
        list(predict_map(0, [batch], task, model_loader=ModelLoader(tmp_path)))
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "in.parquet")
    with pytest.raises(InputSchemaError, match=message):
        plan_table(
            str(tmp_path / "in.parquet"), task, output_table=str(tmp_path / "out"), model_loader=ModelLoader(tmp_path)
        )


@pytest.mark.parametrize(
    ("columns", "changes"),
    [
        (["x", "confidence"], {"output_prefix": "t_"}),
        (["x", "Confidence"], {"keep_columns": ["x"]}),
        (["x", "y", "straße", "strasse"], {}),
    ],
)
def test_names_that_a_table_tells_apart_are_fine(columns, changes):
    schema = output_schema(dataclasses.replace(TASK, **changes), pa.schema([(name, pa.float64()) for name in columns]))
    assert clash(schema.names) is None


def test_rows_of_dicts_are_no_exception():
    with pytest.raises(InputSchemaError, match=re.escape("'x' and 'X'")):
        list(predict_map(0, [{"x": 1.0, "X": 2.0}], TASK, model_loader=ModelLoader(".")))


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_names_that_no_table_can_store_are_refused_where_they_are_declared(name):
    for change in ({"labels": ["x", name]}, {"output_prefix": name}, {"keep_columns": [name]}):
        with pytest.raises(TaskError, match="cannot be stored"):
            dataclasses.replace(TASK, **change)


def test_a_column_with_a_nul_is_refused_in_planning(tmp_path):
    pq.write_table(pa.table({"x": [1.0], "a\0b": [1]}), tmp_path / "t.parquet")
    with pytest.raises(InputSchemaError, match=r"a column 'a\\x00b'; a NUL character"):
        Table(str(tmp_path / "t.parquet")).schema
