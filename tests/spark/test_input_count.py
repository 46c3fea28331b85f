"""What Spark counts as passing is what passes on the workers."""

import dataclasses
import math

import pyarrow as pa
import pytest
from filter_reference import CASES, OPERATORS, array, holds
from pyspark.sql import functions as F  # noqa: N812  (its usual name)

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score import input_count
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.tasks import Hooks, MlTask, ModelSpec, NumericFeature, RowFilter
from sparktorch_assets.tasks.row_test import row_tests

KINDS = [
    pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(5, 2), pa.decimal128(38, 1), pa.bool_(), pa.string(),
    pa.binary(), pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"),
]  # fmt: skip
YEAR_1, YEAR_9999 = -719_162, 2_932_896
"""In days: what Spark and Python both know."""


def known(kind, value):
    if pa.types.is_temporal(kind):
        days = value if pa.types.is_date(kind) else value // 86_400_000_000
        return YEAR_1 <= days <= YEAR_9999
    return True


@pytest.mark.promise("T70")
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_spark_decides_each_row_as_plain_python_does(spark, kind):
    """NaN, signed zeros, extremes, fractions and long lists among them."""
    values, literals = CASES[kind]
    column = [None, *(value for value in values if known(kind, value))]
    data = spark.createDataFrame(pa.table({"row": range(len(column)), "the.column": array(column, kind)}))
    where = [RowFilter(column="the.column", op=op, value=literal) for op in OPERATORS for literal in literals]
    where += [
        RowFilter(column="the.column", op=op, value=some)
        for op in ("in", "not in")
        for some in ([], literals[:3], literals)
    ]
    found_type = data.schema["the.column"].dataType
    tests = row_tests(where, {"the.column": input_count._arrow_type(found_type)}, "task 't'")
    passing = [F.coalesce(input_count._holds(test, found_type), F.lit(False)) for test in tests]
    rows = sorted(data.select("row", F.array(*passing).alias("passing")).collect())
    for condition, *found in zip(where, *(row.passing for row in rows), strict=True):
        expected = [holds(value, condition.op, condition.value, kind) for value in column]
        assert found == expected, condition


TASK = MlTask(
    name="t",
    input="view",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
    keep_columns=["x"],
    hooks=Hooks(row_postprocessor=lambda row: row),
)


@pytest.mark.parametrize(
    ("where", "passing"),
    [
        (RowFilter(column="x", op=">", value=5), 1),  # Spark has NaN above every number
        (RowFilter(column="x", op="!=", value=1), 2),
        (RowFilter(column="single", value=0.1), 0),  # the single-precision number next to it is another one
        (RowFilter(column="single", op=">", value=0.1), 3),
        (RowFilter(column="name", value="a"), 1),  # with this collation Spark has "A" equal to it
        (RowFilter(column="name", op="in", value=["A", "B"]), 1),
    ],
)
def test_filtered_rows_do_not_count_as_dropped(spark, tmp_path, where, passing):
    """With a hook, which might drop rows, the count is all there is to tell the two apart."""
    data = spark.createDataFrame([(1.0, "a"), (math.nan, "A"), (9.0, "b")], "x double, name string").select(
        "x", F.lit(0.1).cast("float").alias("single"), F.collate("name", "UTF8_LCASE").alias("name")
    )
    tally = score_dataframe(
        spark,
        data,
        dataclasses.replace(TASK, where=[where], max_failed_share=1.0),
        output_table=str(tmp_path / "table"),
        model_loader=ModelLoader(tmp_path),
    ).tally
    assert (tally.rows, tally.filtered, tally.dropped) == (passing, 3 - passing, 0)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (RowFilter(column="gone", value=1), "where needs column 'gone'"),
        (RowFilter(column="x", value="1"), "'x' has type double, which cannot be compared with '1'"),
    ],
)
def test_a_filter_that_fits_no_column_is_refused_before_any_job(spark, tmp_path, where, message):
    with pytest.raises(InputSchemaError, match=message):
        score_dataframe(
            spark,
            spark.range(1).select(F.lit(1.0).alias("x")),
            dataclasses.replace(TASK, where=[where]),
            output_table=str(tmp_path / "table"),
            model_loader=ModelLoader(tmp_path),
        )
