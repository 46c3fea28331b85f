"""What Spark's `predict_batch_udf` and MLflow's `spark_udf` can do, each with this library's declaration.

The first table has every case of Spark's own test suite (`pyspark/ml/tests/test_functions.py`), on data like its own, and
compares with `predict_batch_udf` row by row. The second has the result types that the documentation of
`mlflow.pyfunc.spark_udf` lists.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import peer_nets
import pytest
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import functions as F  # noqa: N812  (its usual name)
from pyspark.sql.types import StructType

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.tasks import (
    BatchPolicy,
    ClassificationOutput,
    ColumnsOutput,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
    SlotPolicy,
    TensorFeature,
)

SLOTS = SlotPolicy(device="cpu")
ROWS = 250


@pytest.fixture
def data(spark):
    """Columns `a` to `d`, `t1` of all four, `t2` and `bcd` of three of them: 0, 1, 2 ... row by row."""
    spark.sparkContext.addPyFile(str(Path(peer_nets.__file__)))
    numbers = [f"double(id * 4 + {place}) as {name}" for place, name in enumerate("abcd")]
    lists = ["array(a, b, c, d) as t1", "array(a, b, c) as t2", "array(b, c, d) as bcd"]
    return spark.range(0, ROWS, 1, 2).selectExpr("id", *numbers).selectExpr("*", *lists)


def numeric(*groups):
    return [NumericFeature(columns=list(group)) for group in groups]


def tensor(column, *shape):
    return TensorFeature(column=column, shape=shape, dtype="float64")


def a_task(case, features, output, factory="network", labels=(), **changes):
    model = ModelSpec(factory=f"peer_nets:{factory}", arguments={"case": case})
    return MlTask(name="peer", model=model, features=features, output=output, labels=labels, **changes)


def predict(data, task, **options):
    found = spark_ml_predict(data.sparkSession, data, task, model_loader=ModelLoader(), slots=SLOTS, **options)
    return {row["id"]: row for row in found.collect()}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call of `predict_batch_udf`, and the task that does the same."""

    model: str
    features: list
    inputs: list
    columns: dict = field(default_factory=lambda: {"preds": "double"})
    shapes: list | None = None
    factory: str = "network"

    @property
    def return_type(self):
        listed = ", ".join(f"{name} {kind.replace('list<', 'array<')}" for name, kind in self.columns.items())
        found = StructType.fromDDL(listed)
        return found["preds"].dataType if list(self.columns) == ["preds"] else found


A1_B1, X2_X3 = {"a1": "double", "b1": "double"}, {"x2": "double", "x3": "double"}
X2_Y3 = {"x2": "double", "y3": "list<double>"}
CASES = {
    "test_identity_single": Case(model="first", features=numeric("a"), inputs=["a"]),
    "test_identity_multi, one input": Case(
        model="first_two", features=numeric("ab"), inputs=[("a", "b")], columns=A1_B1
    ),
    "test_identity_multi, two inputs": Case(
        model="both", features=numeric("a", "b"), inputs=["a", "b"], columns=A1_B1
    ),
    "test_identity_multi, two inputs by name": Case(
        model="both",
        features=[NumericFeature(columns=["b"], argument="in2"), NumericFeature(columns=["a"], argument="in1")],
        inputs=["a", "b"],
        columns=A1_B1,
    ),
    "test_transform_scalar, one input": Case(model="row_sum", features=numeric("abcd"), inputs=[tuple("abcd")]),
    "test_transform_scalar, four inputs": Case(
        model="sum_of_four", features=numeric(*"abcd"), inputs=list("abcd")
    ),
    "test_transform_scalar, with a shape": Case(
        model="row_sum", features=numeric("abcd"), inputs=[tuple("abcd")], shapes=[[4]]
    ),
    "test_transform_single_tensor": Case(
        model="row_sum", features=[tensor("t1", 4)], inputs=["t1"], shapes=[[4]]
    ),
    "test_transform_multi_tensor": Case(
        model="sum_of_two_tensors", features=[tensor("t1", 4), tensor("t2", 3)], inputs=["t1", "t2"],
        shapes=[[4], [3]],
    ),
    "test_mixed_input_shapes": Case(
        model="mixed_sum", features=[*numeric(*"abcd"), tensor("t1", 4)], inputs=[*"abcd", "t1"],
        shapes=[None, None, None, None, [4]],
    ),
    "test_return_multiple, columns": Case(model="multiples", features=numeric("a"), inputs=["a"], columns=X2_X3),
    "test_return_multiple, rows": Case(
        model="multiples", features=numeric("a"), inputs=["a"], columns=X2_X3, factory="row_objects"
    ),
    "test_return_struct_with_array_field, columns": Case(
        model="multiples_with_array", features=[*numeric("a"), tensor("bcd", 3)], inputs=["a", "bcd"],
        columns=X2_Y3, shapes=[[], [3]],
    ),
    "test_return_struct_with_array_field, rows": Case(
        model="multiples_with_array", features=[*numeric("a"), tensor("bcd", 3)], inputs=["a", "bcd"],
        columns=X2_Y3, shapes=[[], [3]], factory="row_objects",
    ),
}  # fmt: skip


@pytest.mark.promise("M217")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_case_of_spark(case, data):
    """Every row as predict_batch_udf gives it."""
    task = a_task(case.model, case.features, ColumnsOutput(columns=case.columns), case.factory)
    function = peer_nets.as_udf(getattr(peer_nets, case.model))
    udf = predict_batch_udf(function, return_type=case.return_type, batch_size=5, input_tensor_shapes=case.shapes)
    inputs = [F.struct(*given) if isinstance(given, tuple) else given for given in case.inputs]
    reference = data.select("id", udf(*inputs).alias("preds"))
    reference = reference if list(case.columns) == ["preds"] else reference.select("id", "preds.*")
    wanted = {row["id"]: [row[name] for name in case.columns] for row in reference.collect()}
    found = predict(data, task, batch_size=5)
    assert {key: [row[name] for name in case.columns] for key, row in found.items()} == wanted
    assert len(wanted) == ROWS
    assert wanted[0] != wanted[1]


@pytest.mark.promise("M217")
def test_batching(data):
    """`test_batching`: there, no batch is larger than asked for; here, all but a partition's last have that size."""
    task = a_task(
        "batch_length", numeric("a"), ColumnsOutput(columns={"preds": "int"}), batch=BatchPolicy(batch_size=10)
    )
    assert sorted(row["preds"] for row in predict(data, task).values()) == [5] * 10 + [10] * 240


@pytest.mark.promise("M217")
def test_caching(data):
    """`test_caching`: a model is loaded once per worker process, and a changed one is loaded anew."""

    def number(model):
        spec = ModelSpec(factory="peer_nets:counts_loads", arguments={"model": model})
        task = MlTask(name="peer", model=spec, features=numeric("a"), output=ColumnsOutput(columns={"preds": "long"}))
        return {row["preds"] for row in predict(data.coalesce(1).limit(20), task, parallel=1).values()}

    first = [number("one") for _ in range(3)]
    assert first[0] == first[1] == first[2]
    assert first[0] & number("another") == set()
    assert number("one") == first[0]


@pytest.mark.promise("M217")
def test_single_value_in_batch(data):
    """`test_single_value_in_batch` (SPARK-42250): batches of one row."""
    task = a_task("sum_of_two_tensors", [tensor("t1", 4), tensor("t2", 3)], ColumnsOutput(columns={"preds": "float"}))
    assert [row["preds"] for row in predict(data.where("id = 0"), task, batch_size=1).values()] == [9.0]


@pytest.mark.parametrize(
    ("model", "features", "columns", "error", "message"),
    [
        pytest.param("row_sum", [NumericFeature(columns=["t1"])], {"preds": "double"}, InputSchemaError,
                     "numeric feature 't1' has type list<.*; declare it as sequence", id="test_transform_single_tensor, no shape"),
        pytest.param("malformed_array", [*numeric("a"), tensor("bcd", 3)], X2_Y3, Exception,
                     r"'y3' of shape \(\d+, 3, 1\) .* needs 2 dimensions", id="test_return_struct_with_array_field, malformed"),
    ],
)  # fmt: skip
def test_an_error_case_of_spark(model, features, columns, error, message, data):
    """The whole run fails, as all rows would, with a message that says what does not fit."""
    with pytest.raises(error, match=message):
        predict(data.limit(5), a_task(model, features, ColumnsOutput(columns=columns)))


def test_a_network_with_fewer_arguments_than_features(data):
    """`test_transform_scalar` with three inputs for four columns: there, the job fails; here, each row says why, and
    the run fails if there are more than a few."""
    task = a_task("sum_of_three", numeric(*"abcd"), ColumnsOutput(columns={"preds": "double"}))
    (found,) = predict(data.limit(1), task).values()
    assert "takes 3 positional arguments but 4 were given" in found["prediction_error"]


def test_rows_of_another_shape_than_declared(data):
    """`test_transform_scalar` with a wrong shape: there, the job fails; here, the row."""
    task = a_task("row_sum", [tensor("t", 4)], ColumnsOutput(columns={"preds": "double"}))
    mixed = data.withColumn("t", F.when(F.col("id") == 1, F.col("t2")).otherwise(F.col("t1")))
    found = predict(mixed.where("id < 3"), task)
    assert [found[row]["preds"] for row in range(3)] == [6.0, None, 38.0]


TYPES = {
    "int": ("int", lambda x: x + 1),
    "long": ("bigint", lambda x: x + 2**40),
    "float": ("float", lambda x: pytest.approx(x / 3, rel=1e-7)),
    "double": ("double", lambda x: x / 3),
    "boolean": ("boolean", lambda x: x % 2 == 0),
    "list<int>": ("array<int>", lambda x: [x, x]),
    "list<long>": ("array<bigint>", lambda x: [x + 2**40, x + 2**40]),
    "list<float>": ("array<float>", lambda x: pytest.approx([x / 3, (x + 0.5) / 3], rel=1e-7)),
    "list<double>": ("array<double>", lambda x: [x / 3, (x + 0.5) / 3]),
    "list<boolean>": ("array<boolean>", lambda x: [x % 2 == 0, False]),
    "list<list<double>>": ("array<array<double>>", lambda x: [[x, -x, 2 * x], [x + 0.5, -x - 0.5, 2 * x + 1]]),
}
"""Type -> Spark's name of it, and the value that the network `typed` gives for a whole number."""
NAMES = dict(zip(TYPES, ("int", "long", "float", "double", "boolean", "ints", "longs", "floats", "doubles", "booleans", "matrix"), strict=True))  # fmt: skip


@pytest.fixture
def whole(data):
    return data.sparkSession.range(0, 20, 1, 2).selectExpr("id", "id as x")


@pytest.mark.promise("M218")
@pytest.mark.parametrize("kind", TYPES)
def test_a_result_type_of_mlflow(kind, whole):
    """Integers, floats, booleans and arrays of them, from a network: the type, and the value of every row."""
    spark_type, value = TYPES[kind]
    output = ColumnsOutput(columns={NAMES[kind]: kind})
    task = a_task("typed", numeric("x"), output)
    schema = spark_ml_predict(whole.sparkSession, whole, task, model_loader=ModelLoader(), slots=SLOTS).schema
    assert schema[NAMES[kind]].dataType.simpleString() == spark_type
    assert {key: row[NAMES[kind]] for key, row in predict(whole, task).items()} == {x: value(x) for x in range(20)}


@pytest.mark.promise("M218", "M219")
def test_the_result_types_string_and_array_of_string(whole):
    """Of a model object. Its null in a list fails the row, as a null among numbers does."""
    task = a_task(
        "texts", numeric("x"), ColumnsOutput(columns={"text": "string", "texts": "list<string>"}), "row_objects"
    )
    found = predict(whole, task)
    assert [found[x]["text"] for x in range(3)] == ["class0", "class1", "class2"]
    assert found[2]["texts"] == ["2", "ü"]
    assert [x for x, row in found.items() if row["prediction_error"]] == [13]


@pytest.mark.promise("M218")
def test_strings_of_a_network_are_its_labels(whole):
    """A network gives one of its labels, or a list of them."""
    labels = ["even", "odd"]
    one = predict(whole, a_task("parity", numeric("x"), ClassificationOutput(), labels=labels))
    several = predict(whole, a_task("parity", numeric("x"), MultilabelOutput(), labels=labels))
    assert [(one[x]["predicted_class"], several[x]["predicted_labels"]) for x in range(2)] == [
        ("even", ["even"]), ("odd", ["odd"]),
    ]  # fmt: skip
    with pytest.raises(Exception, match="declares 'text' as string, but the model is a network, .* declare labels"):
        predict(whole, a_task("parity", numeric("x"), ColumnsOutput(columns={"text": "string"})))


@pytest.mark.promise("M218")
def test_a_struct_is_several_columns(whole):
    """`r1 int, r2 float, r3 array<long>, r4 array<double>, r5 array<double>, r6 boolean, r7 string`; as one struct, if
    it must be one, by Spark's own function."""
    columns = {
        "r1": "int", "r2": "float", "r3": "list<long>", "r4": "list<double>", "r5": "list<double>", "r6": "boolean",
        "r7": "string",
    }  # fmt: skip
    task = a_task("struct", numeric("x"), ColumnsOutput(columns=columns), "row_objects")
    found = spark_ml_predict(whole.sparkSession, whole, task, model_loader=ModelLoader(), slots=SLOTS)
    structs = found.select(F.struct(*columns).alias("res"))
    assert structs.schema["res"].dataType.simpleString() == (
        "struct<r1:int,r2:float,r3:array<bigint>,r4:array<double>,r5:array<double>,r6:boolean,r7:string>"
    )
    wanted = (1, 1.5, [1, 2], [1.5, 2.5], [1.5, 2.5], True, "abc")
    assert [tuple(row["res"]) for row in structs.collect()] == [wanted] * 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what MLflow uses may warn
@pytest.mark.promise("M218")
def test_the_values_are_those_of_spark_udf(whole, tmp_path, monkeypatch):
    """MLflow's own function on a model that computes the same in NumPy: one type by itself, and all in a struct."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow")

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            x = model_input.iloc[:, 0].to_numpy()
            rows = np.stack([x, x + 0.5], axis=1)
            return {
                "int": x + 1, "long": x + 2**40, "float": x.astype("float32") / np.float32(3), "double": x / 3,
                "boolean": x % 2 == 0, "ints": rows.astype("int32"), "longs": rows.astype("int64") + 2**40,
                "floats": rows.astype("float32") / np.float32(3), "doubles": rows / 3, "booleans": rows % 2 == 0,
                "matrix": np.stack([rows, -rows, rows * 2], axis=2),
                "text": [f"class{value}" for value in x], "texts": [[str(value), "ü"] for value in x],
            }  # fmt: skip

    mlflow.pyfunc.save_model("saved", python_model=Model(), pip_requirements=[])
    columns = {**{NAMES[kind]: kind for kind in TYPES}, "text": "string", "texts": "list<string>"}
    listed = ", ".join(f"{name} {kind.replace('list', 'array')}" for name, kind in columns.items())
    udf = mlflow.pyfunc.spark_udf(whole.sparkSession, "saved", result_type=listed, env_manager="local")
    rows = whole.where("x != 13")  # for which `texts` returns a null
    reference = rows.select("id", udf("x").alias("found")).select("id", "found.*")
    wanted = {row["id"]: [row[name] for name in columns] for row in reference.collect()}
    numbers = predict(rows, a_task("typed", numeric("x"), ColumnsOutput(columns={NAMES[kind]: kind for kind in TYPES})))
    kinds = {name: columns[name] for name in ("text", "texts")}
    texts = predict(rows, a_task("texts", numeric("x"), ColumnsOutput(columns=kinds), "row_objects"))
    found = {x: [(texts if name in kinds else numbers)[x][name] for name in columns] for x in numbers}
    assert len(wanted) == 19
    assert found == wanted


@pytest.mark.promise("M218")
def test_a_number_of_several_is_named(whole):
    """Where spark_udf takes the leftmost column that has the result type, a task names the columns that it wants."""
    columns = {"long": "long", "text": "string", "flag": "boolean"}
    task = a_task("several types", numeric("x"), ColumnsOutput(columns=columns), "row_objects")
    assert {tuple(row[name] for name in columns) for row in predict(whole, task).values()} == {(2, "class1", True)}


def test_the_default_result_is_a_double(whole):
    """Where nothing else is asked for, spark_udf returns a double; so does a regression."""
    task = a_task("single", numeric("x"), RegressionOutput())
    assert {x: row["predicted_value"] for x, row in predict(whole, task).items()} == {x: x * 2.0 for x in range(20)}
