"""Each kind of output against plain torch, with a poisoned row, a null and a NaN in the middle."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from output_nets import Numbers

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    ClassificationOutput,
    ColumnsOutput,
    EmbeddingOutput,
    Execution,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
    SequenceFeature,
)

X = [0.5, -2.0, 3.0, 950.0, None, 850.0, 7.0, -1.0]
GOOD = [0, 1, 2, 6, 7]
BAD = {3: "forward: ValueError: a poisoned row", 4: "encode: Null", 5: "forward: NotFinite"}
LABELS = ["a", "b", "c"]


def a_task(output, factory="output_nets:numbers", labels=(), features=None, **arguments):
    return MlTask(
        name="t",
        model=ModelSpec(factory=factory, arguments=arguments),
        features=features or [NumericFeature(columns=["x"])],
        labels=labels,
        output=output,
        keep_columns=["id"],
        max_failed_share=1.0,
    )


def predicted(task, x=X, batch_size=3, tally=None):
    """The rows of `predict_map`, checked for the announced schema and against those of single batches."""
    batch = pa.record_batch({"id": pa.array(range(len(x))), "x": pa.array(x, pa.float64())})
    found = list(predict_map(0, [batch], task, batch_size, model_loader=ModelLoader("."), tally=tally))
    assert all(part.schema == output_schema(task, batch.schema) for part in found)
    rows = [row for part in found for row in part.to_pylist()]
    assert [row["id"] for row in rows] == list(range(len(x)))
    return rows


def check_failures(rows, names):
    for row in rows:
        if row["id"] in BAD:
            assert row["prediction_error"].startswith(BAD[row["id"]])
            assert all(row[name] is None for name in names)
        else:
            assert row["prediction_error"] is None


@pytest.mark.promise("M101", "M108")
@pytest.mark.parametrize("form", ["tensor", "object"])
def test_a_regression_gives_its_numbers_in_their_unit(form):
    output = RegressionOutput(names=["delay", "fuel"], scale=2.0, offset=-1.0)
    tally = Tally()
    rows = predicted(a_task(output, width=2, form=form), tally=tally)
    check_failures(rows, ["predicted_delay", "predicted_fuel"])
    with torch.inference_mode():
        expected = Numbers(2)(torch.tensor([[X[row]] for row in GOOD])).double() * 2.0 - 1.0
    found = [[rows[row]["predicted_delay"], rows[row]["predicted_fuel"]] for row in GOOD]
    assert found == expected.tolist()
    numbers = tally.numbers["predicted_delay"]
    values = expected[:, 0].numpy()
    assert (numbers.count, numbers.minimum, numbers.maximum) == (5, values.min(), values.max())
    assert numbers.mean == pytest.approx(values.mean())
    assert numbers.deviation == pytest.approx(values.std())
    assert (tally.predicted, tally.failed, tally.classes) == (5, 3, {})


@pytest.mark.promise("M101")
def test_a_single_number_may_come_without_a_second_dimension():
    rows = predicted(a_task(RegressionOutput(exp=True), width=1, form="flat"))
    assert [rows[row]["predicted_value"] for row in GOOD] == [math.exp(X[row]) for row in GOOD]


@pytest.mark.promise("M101")
def test_quantile_heads_and_lists():
    rows = predicted(a_task(RegressionOutput(quantiles=[0.1, 0.5, 0.975]), width=3))
    assert list(rows[0]) == ["id", "predicted_p10", "predicted_p50", "predicted_p97_5", "prediction_error"]
    rows = predicted(a_task(RegressionOutput(length=4), width=4))
    check_failures(rows, ["predicted_values"])
    assert rows[2]["predicted_values"] == [3.0, 4.0, 5.0, 6.0]


@pytest.mark.promise("M102")
def test_numbers_outside_the_declared_range_fail_the_check_and_not_the_row():
    output = RegressionOutput(minimum=-1.5, maximum=5.0)
    tally = Tally()
    rows = predicted(a_task(output, width=1), tally=tally)
    assert [rows[row]["predicted_value"] for row in GOOD] == [X[row] for row in GOOD]
    (outcome,) = output.checks(tally, ())
    assert (outcome.passed, outcome.details["values outside the range"]) == (False, 2)
    assert [spec.name for spec in output.check_specs] == ["values_in_range"]
    assert output.checks(Tally(), ())[0].passed


@pytest.mark.promise("M103")
def test_any_number_of_labels_per_row():
    output = MultilabelOutput(threshold=0.6, thresholds={"c": 0.99})
    tally = Tally()
    rows = predicted(a_task(output, labels=LABELS, width=3), tally=tally)
    check_failures(rows, ["predicted_labels", "scores"])
    for row in GOOD:
        scores = [1 / (1 + math.exp(-(X[row] + place))) for place in range(3)]
        assert rows[row]["scores"] == pytest.approx(scores, rel=1e-6)
        limits = (0.6, 0.6, 0.99)
        chosen = [label for label, score, limit in zip(LABELS, scores, limits, strict=True) if score >= limit]
        assert rows[row]["predicted_labels"] == chosen
    assert tally.marks["rows without a label"] == 2
    assert tally.classes == {"a": 3, "b": 3, "c": 2}
    assert all(outcome.passed for outcome in output.checks(tally, LABELS))
    assert not all(outcome.passed for outcome in output.checks(tally, ["a", "b"]))


@pytest.mark.promise("M104")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dimensions", [None, 2])
def test_vectors(normalize, dimensions):
    output = EmbeddingOutput(length=4, normalize=normalize, dimensions=dimensions)
    tally = Tally()
    rows = predicted(a_task(output, width=4), tally=tally)
    check_failures(rows, ["embedding"])
    for row in GOOD:
        vector = np.array([X[row] + place for place in range(dimensions or 4)], dtype=np.float32)
        if normalize:
            vector = vector / np.linalg.norm(vector)
        assert rows[row]["embedding"] == pytest.approx(vector.tolist(), rel=1e-6)
    assert tally.numbers["norm"].count == 5
    assert all(outcome.passed for outcome in output.checks(tally, ()))


def test_vectors_of_one_number_fail_their_check():
    """What a model that is not trained, or fed with padding alone, gives."""
    output = EmbeddingOutput(length=2, normalize=True)
    tally = Tally()
    model_object = a_task(output, "output_nets:answers", embedding=([0.0, 0.0], [1.0, 0.0], [0.0, 1.0]))
    rows = predicted(model_object, [0.0, 1.0, 2.0], tally=tally)
    assert rows[1]["embedding"] == [1.0, 0.0]
    assert [(outcome.name, outcome.passed) for outcome in output.checks(tally, ())] == [
        ("vectors_differ", False), ("unit_norm", False),
    ]  # fmt: skip


@pytest.mark.promise("M104")
@pytest.mark.parametrize(("pooling", "expected"), [("cls", [[5, 1, 5], [2, 1, 2]]), ("mean", [[6, 1, 6], [3, 1, 3]])])
def test_pooling_leaves_padding_out(pooling, expected):
    task = a_task(
        EmbeddingOutput(length=3, pooling=pooling),
        "output_nets:tokens",
        features=[SequenceFeature(column="ids", dtype="int64")],
    )
    batch = pa.record_batch({"id": [0, 1], "ids": pa.array([[5, 6, 7], [2, 4]], pa.list_(pa.int64()))})
    (found,) = predict_map(0, [batch], task, 2, model_loader=ModelLoader("."))
    assert found.column("embedding").to_pylist() == expected


@pytest.mark.promise("M105")
@pytest.mark.parametrize("form", ["dict", "named"])
def test_named_tensors_become_columns_of_their_types(form):
    columns = {"low": "double", "steps": "list<float>"} | ({"grid": "list<list<double>>"} if form == "dict" else {})
    rows = predicted(a_task(ColumnsOutput(columns=columns), width=2, form=form))
    check_failures(rows, list(columns))
    assert (rows[2]["low"], rows[2]["steps"]) == (3.0, [3.0, 4.0])
    if form == "dict":
        assert rows[2]["grid"] == [[3.0, 4.0], [3.0, 4.0]]


@pytest.mark.promise("M100")
def test_more_of_a_classification():
    """The most probable classes, and a class for rows below the threshold."""
    output = ClassificationOutput(scores=True, top_k=2, threshold=0.68, below="unsure")
    rows = predicted(a_task(output, labels=["a", "b"], width=2))
    assert list(rows[0]) == ["id", "predicted_class", "confidence", "prediction_error", "scores", "top"]
    check_failures(rows, ["predicted_class", "confidence", "scores", "top"])
    for row in GOOD:
        assert rows[row]["top"] == [
            {"class": "b", "confidence": pytest.approx(rows[row]["scores"][1])},
            {"class": "a", "confidence": pytest.approx(rows[row]["scores"][0])},
        ]
        assert rows[row]["predicted_class"] == "b"  # exp(1) / (1 + exp(1)) = 0.73
    sure = ClassificationOutput(threshold=0.74, below="unsure")
    tally = Tally()
    rows = predicted(a_task(sure, labels=["a", "b"], width=2), tally=tally)
    assert {rows[row]["predicted_class"] for row in GOOD} == {"unsure"}
    assert all(outcome.passed for outcome in sure.checks(tally, ["a", "b"]))


OUTPUTS = {
    "regression": (RegressionOutput(names=["one", "two"]), ()),
    "multilabel": (MultilabelOutput(), ["a", "b"]),
    "embedding": (EmbeddingOutput(length=2), ()),
    "columns": (ColumnsOutput(columns={"both": "list<float>"}), ()),
    "classification": (ClassificationOutput(), ["a", "b"]),
}


@pytest.mark.promise("M109")
@pytest.mark.parametrize("kind", sorted(OUTPUTS))
def test_every_kind_is_compared_with_fp32(kind):
    output, labels = OUTPUTS[kind]
    task = a_task(output, labels=labels, width=2)
    lower = MlTask(
        **{name: getattr(task, name) for name in task.__dataclass_fields__} | {"execution": Execution(precision="bf16")}
    )
    tally = Tally()
    rows = predicted(lower, tally=tally)
    assert sum(row["prediction_error"] is None for row in rows) == 5
    assert tally.agreement == 1.0
    assert tally.confidence_difference is not None
    assert tally.confidence_difference < 0.02


@pytest.mark.promise("M106")
@pytest.mark.parametrize("kind", sorted(OUTPUTS))
def test_a_result_of_another_shape_is_refused_in_terms_of_the_task(kind):
    output, labels = OUTPUTS[kind]
    labels = [*labels, "c"] if labels else ()  # a single logit may stand for two classes
    with pytest.raises(ModelError, match=r"task 't': .*(expected|needs)"):
        predicted(a_task(output, labels=labels, width=3, form="flat"))


@pytest.mark.parametrize(
    ("output", "columns", "good", "bad"),
    [
        (RegressionOutput(), {"predicted_value": (1.5, None, math.nan)}, [1.5], "NoNumber"),
        (RegressionOutput(length=2), {"predicted_values": ([1.0, 2.0], [1.0], [1.0, None])}, [[1.0, 2.0]], "NoNumber"),
        (EmbeddingOutput(length=2), {"embedding": ([1.0, 2.0], [1.0], [math.inf, 1.0])}, [[1.0, 2.0]], "NoVector"),
        (MultilabelOutput(), {"predicted_labels": (["a"], None, None)}, [["a"]], "NoLabels"),
        (ColumnsOutput(columns={"n": "long"}), {"n": (7, None, None)}, [7], "NoValue"),
    ],
)
def test_what_a_model_object_answers_is_checked(output, columns, good, bad):
    """A value that is no prediction fails its row."""
    labels = ["a", "b"] if output.labelled else ()
    task = a_task(output, "output_nets:answers", labels=labels, **columns)
    rows = predicted(task, [0.0, 1.0, 2.0])
    assert [rows[0][name] for name in columns] == good
    assert [row["prediction_error"].split(": ")[1] for row in rows[1:]] == [bad, bad]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: a_task(RegressionOutput(), labels=["a", "b"]), "labels are given, but output 'regression' has none"),
        (lambda: a_task(ClassificationOutput()), "labels is empty"),
        (lambda: a_task(MultilabelOutput(thresholds={"bb": 0.5}), labels=["b", "c"]), "did you mean 'b'"),
        (lambda: ClassificationOutput(threshold=0.5), "give both"),
        (lambda: a_task(ClassificationOutput(threshold=0.5, below="a"), labels=["a", "b"]), "one of the labels"),
        (lambda: RegressionOutput(names=["a"], length=2), "names are given; choose one"),
        (lambda: RegressionOutput(quantiles=[1.5]), "between 0 and 1"),
        (lambda: RegressionOutput(scale=0.0), "must be a finite number other than 0"),
        (lambda: RegressionOutput(minimum=2.0, maximum=1.0), "is above"),
        (lambda: EmbeddingOutput(length=2, dimensions=3), "more than length"),
        (lambda: ColumnsOutput(columns={"a": "text"}), "has the type|gives 'a' the type 'text'"),
        (lambda: ColumnsOutput(columns={}), "is empty"),
    ],
)
def test_declarations_that_cannot_be_meant(make, message):
    with pytest.raises(TaskError, match=message):
        make()


@pytest.mark.parametrize("kind", sorted(OUTPUTS))
def test_pages_and_figures_are_plain_values(kind):
    """They go into Dagster's metadata and receipts as they are, with and without rows."""
    output, labels = OUTPUTS[kind]
    for x in (X, []):
        tally = Tally()
        batch = pa.record_batch({"id": pa.array(range(len(x))), "x": pa.array(x, pa.float64())})
        list(
            predict_map(
                0, [batch], a_task(output, labels=labels, width=2), 3, model_loader=ModelLoader("."), tally=tally
            )
        )
        assert all(isinstance(json.loads(text), dict | list) for text in output.figures(tally).values())
        assert output.page(tally) is not None
        assert Tally.from_plain(json.loads(json.dumps(tally.to_plain()))) == tally
