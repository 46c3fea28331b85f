"""Each kind of output against plain torch, with a poisoned row, a null and a NaN in the middle."""

import json
import math
from dataclasses import replace

import numpy as np
import output_nets
import pyarrow as pa
import pytest
import torch
from output_nets import Numbers

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.outputs import make_decoder
from sparktorch_assets.predict.outputs.decoder import Forward
from sparktorch_assets.predict.outputs.result import compare_numbers
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    ClassificationOutput,
    ColumnsOutput,
    EmbeddingOutput,
    Execution,
    Hooks,
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
def test_quantiles_near_the_ends_have_names_of_their_own():
    names = RegressionOutput(quantiles=[0.07, 0.999999, 0.9999999, 0.0000001]).value_names
    assert names == ("predicted_p7", "predicted_p99_9999", "predicted_p99_99999", "predicted_p0_00001")


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
def forward_of(vectors, mask=None, own=None):
    result = vectors if own is None else {"embedding": vectors, "mask": own}
    return Forward(result=result, computed=len(vectors), rows=len(vectors), mask_BT=mask)


def test_a_networks_own_mask_takes_precedence_over_the_features():
    """Its vectors may belong to frames, of which there are fewer than samples in a row."""
    vectors = torch.tensor([[[1.0], [3.0], [50.0]], [[2.0], [4.0], [9.0]]])
    own = torch.tensor([[True, True, False], [True, True, True]])
    decoder = make_decoder(a_task(EmbeddingOutput(length=1, pooling="mean")))
    found = decoder.tensors(forward_of(vectors, torch.ones(2, 40, dtype=torch.bool), own))
    assert found["embedding"].tolist() == [[2.0], [5.0]]


@pytest.mark.parametrize("tokens", [1, 2, 40])
def test_a_mask_of_other_vectors_is_refused(tokens):
    """A single token would be repeated for all vectors, and their sum taken for the mean."""
    decoder = make_decoder(a_task(EmbeddingOutput(length=1, pooling="mean")))
    forward = forward_of(torch.ones(2, 3, 1), torch.ones(2, tokens, dtype=torch.bool))
    with pytest.raises(ModelError, match=rf"vectors \(2, 3\), and the feature gives \(2, {tokens}\); return a `mask`"):
        decoder.tensors(forward)


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
        (MultilabelOutput(), {"predicted_labels": (["a"], None, ["a", None])}, [["a"]], "NoLabels"),
        (
            MultilabelOutput(),
            {"predicted_labels": (["a"], ["a"], ["a"]), "scores": ([0.5, 0.25], [0.5], [0.5, math.nan])},
            [["a"], [0.5, 0.25]],
            "NoScores",
        ),
        (ColumnsOutput(columns={"n": "long"}), {"n": (7, None, None)}, [7], "NoValue"),
        (ColumnsOutput(columns={"n": "float"}), {"n": (7.0, math.nan, math.inf)}, [7.0], "NoValue"),
        (ColumnsOutput(columns={"n": "list<float>"}), {"n": ([7.0], [math.inf], [None])}, [[7.0]], "NoValue"),
        (ColumnsOutput(columns={"n": "string"}), {"n": ("seven", None, None)}, ["seven"], "NoValue"),
        (ColumnsOutput(columns={"n": "list<string>"}), {"n": (["a", ""], None, ["a", None])}, [["a", ""]], "NoValue"),
    ],
)
def test_what_a_model_object_answers_is_checked(output, columns, good, bad):
    """A value that is no prediction fails its row."""
    labels = ["a", "b"] if output.labelled else ()
    task = a_task(output, "output_nets:answers", labels=labels, **columns)
    rows = predicted(task, [0.0, 1.0, 2.0])
    assert [rows[0][name] for name in columns] == good
    assert [row["prediction_error"].split(": ")[1] for row in rows[1:]] == [bad, bad]


@pytest.mark.parametrize("labels", [[1, 0], (1, 0), np.array([1, 0]), ["1", "0"]])
def test_labels_of_a_model_object_may_be_numbers(labels):
    """As its classes may."""
    task = a_task(MultilabelOutput(), "output_nets:held_labels", labels=["0", "1"])
    output_nets.HELD = labels
    assert [row["predicted_labels"] for row in predicted(task, [0.0, 1.0])] == [["1", "0"]] * 2


@pytest.mark.promise("M143")
@pytest.mark.parametrize(
    ("output", "options"),
    [
        (ClassificationOutput(threshold=0.5, below="c"), "threshold, below"),
        (RegressionOutput(scale=2.0, exp=True), "scale, exp"),
        (RegressionOutput(offset=1.0), "offset"),
        (MultilabelOutput(threshold=0.4), "threshold"),
        (MultilabelOutput(thresholds={"a": 0.5}), "thresholds"),
        (EmbeddingOutput(length=2, pooling="mean"), "pooling"),
    ],
)
def test_options_that_would_not_be_applied_to_a_model_object_are_refused(output, options):
    task = a_task(output, "output_nets:answers", labels=["a", "b"] if output.labelled else ())
    with pytest.raises(
        ModelError, match=f"'t': its output sets {options}, which .* is an object .*leave the option out"
    ):
        predicted(task, [0.0])


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
        (lambda: RegressionOutput(minimum=math.nan), "minimum=nan must be a finite number; leave it out"),
        (lambda: RegressionOutput(maximum=math.inf), "maximum=inf must be a finite number; leave it out"),
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


def chosen(output, name, **options):
    labels = list("abcde") if output.kind == "classification" else ["a"] if output.labelled else ()
    return replace(a_task(output, "output_nets:chosen", labels, name=name), **options)


@pytest.mark.promise("M108")
def test_a_double_that_is_infinite_as_a_float_fails_its_row():
    rows = predicted(chosen(ColumnsOutput(columns={"a": "float"}), "double"), [0.0, 1.0])
    assert [row["a"] for row in rows] == [0.0, None]
    assert rows[1]["prediction_error"].startswith("forward: NotFinite")
    rows = predicted(chosen(ColumnsOutput(columns={"a": "double"}), "double"), [0.0, 1.0])
    assert [row["a"] for row in rows] == [0.0, 1e300]


@pytest.mark.promise("M106")
@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("boolean", "probability", "'a' as torch.float32, and its column is of whole numbers or booleans"),
        ("int", "long", "'a' as int64, and its column is int32, which cannot hold every value .*; declare long"),
    ],
)
def test_a_tensor_that_a_column_would_change_is_refused(kind, name, message):
    """A probability as a boolean would be true in every row."""
    with pytest.raises(ModelError, match=message):
        predicted(chosen(ColumnsOutput(columns={"a": kind}), name), [0.0, 1.0])


@pytest.mark.promise("M106")
@pytest.mark.parametrize("kind", ["string", "list<string>"])
def test_a_network_gives_no_texts(kind):
    with pytest.raises(ModelError, match=f"'a' as {kind[:4]}.* the model is a network, .* declare labels"):
        predicted(chosen(ColumnsOutput(columns={"a": kind}), "double"), [0.0, 1.0])


def test_whole_numbers_keep_their_digits():
    rows = predicted(chosen(RegressionOutput(), "whole"), [0.0])
    assert rows[0]["predicted_value"] == 2**24 + 1


def test_a_plain_tuple_has_no_names():
    """`tuple.count` is a method, and no column."""
    assert predicted(chosen(ColumnsOutput(columns={"count": "float"}), "tuple"), [2.0])[0]["count"] == 2.0


@pytest.mark.promise("M100")
def test_the_predicted_class_comes_first_among_equal_ones():
    (row,) = predicted(chosen(ClassificationOutput(top_k=3), "equal"), [0.0])
    assert row["predicted_class"] == row["top"][0]["class"]
    assert len({entry["class"] for entry in row["top"]}) == 3
    assert [entry["confidence"] for entry in row["top"]] == pytest.approx([0.2] * 3)


@pytest.mark.promise("M109")
@pytest.mark.parametrize(
    ("output", "name", "same"),
    [
        # 20.03 becomes 20, which is 0.15 %; of its exponential, 3 % are missing.
        (RegressionOutput(), "logarithm", True),
        (RegressionOutput(exp=True), "logarithm", False),
        # 0.003 becomes 0; with 10 added, that does not matter.
        (RegressionOutput(), "around zero", False),
        (RegressionOutput(offset=10.0), "around zero", True),
    ],
)
def test_numbers_are_compared_in_the_unit_of_the_table(output, name, same):
    tally = Tally()
    predicted(chosen(output, name, execution=Execution(precision="bf16")), [1.0, 2.0], tally=tally)
    assert tally.agreement == (1.0 if same else 0.0)


@pytest.mark.promise("M109")
def test_a_large_number_does_not_hide_the_differences_of_a_small_one():
    large, small, other = (torch.tensor([[value]]) for value in (1e6, 1.0, 2.0))
    for pairs, expected in (
        ([(torch.cat([large, small], 1), torch.cat([large, other], 1))], True),  # one vector
        ([(large, large), (small, other)], False),  # two numbers
    ):
        counted, same, difference = compare_numbers(pairs)
        assert (counted.item(), same.item()) == (True, expected)
        assert difference.item() == pytest.approx(1e-6 if expected else 1.0)
    one, other = (Forward(result=torch.cat([large, x], 1), computed=1, rows=1, mask_BT=None) for x in (small, other))
    for output, expected in ((RegressionOutput(names=["a", "b"]), False), (RegressionOutput(length=2), True)):
        assert make_decoder(a_task(output)).compare(one, other)[1].item() == expected
    one, other = (
        Forward(result={"a": large[:, 0], "b": x}, computed=1, rows=1, mask_BT=None)
        for x in (torch.ones(1, 1), torch.full((1, 1), 2.0))
    )
    columns = ColumnsOutput(columns={"a": "float", "b": "list<float>"})
    assert not make_decoder(a_task(columns)).compare(one, other)[1].item()


@pytest.mark.promise("M109")
def test_labels_of_infinite_logits_do_not_agree():
    """Their row fails in fp16, whose largest number is 65,504, although a sigmoid would be 1 in both precisions."""
    tally = Tally()
    rows = predicted(chosen(MultilabelOutput(), "overflow", execution=Execution(precision="fp16")), [1.0], tally=tally)
    assert rows[0]["prediction_error"].startswith("forward: NotFinite")
    assert tally.agreement == 0.0


@pytest.mark.promise("M104")
def test_nan_in_padding_is_not_part_of_a_mean():
    """Attention gives NaN where everything is masked."""
    task = a_task(
        EmbeddingOutput(length=2, pooling="mean"),
        "output_nets:chosen",
        features=[SequenceFeature(column="ids", dtype="int64")],
        name="nan padding",
    )
    batch = pa.record_batch({"id": [0, 1], "ids": pa.array([[5, 6, 7], [2]], pa.list_(pa.int64()))})
    (found,) = predict_map(0, [batch], task, 2, model_loader=ModelLoader("."))
    assert found.column("embedding").to_pylist() == [[6.0, 7.0], [2.0, 3.0]]


def test_a_hook_may_change_the_length_of_vectors():
    tally = Tally()
    task = replace(
        a_task(EmbeddingOutput(length=3, normalize=True), width=3),
        hooks=Hooks(batch_postprocessor="output_nets:shorter_vectors"),
    )
    rows = predicted(task, [0.0, 1.0, 2.0], tally=tally)
    assert [len(row["embedding"]) for row in rows] == [1, 2, 1]
    assert tally.numbers["norm"].count == 3
    assert tally.marks["vectors without unit norm"] == 3


def test_labels_that_a_hook_makes_null_fail_the_check():
    tally = Tally()
    task = a_task(MultilabelOutput(), labels=["a", "b"], width=2)
    predicted(replace(task, hooks=Hooks(row_postprocessor="output_nets:null_labels")), [0.0, 1.0], tally=tally)
    assert tally.classes == {"a": 2}
    outcome = task.output.checks(tally, task.labels)[1]
    assert (outcome.passed, outcome.details["labels that are null"]) == (False, 2)
    assert task.output.page(tally)


@pytest.mark.promise("M108")
def test_an_embedding_beside_logits_has_to_be_finite():
    task = replace(chosen(ClassificationOutput(embedding=True), "nan embedding"), labels=["a", "b"])
    rows = predicted(task, [1.0, 0.0, 2.0])
    assert [row["embedding"] for row in rows] == [[1.0, 1.0], None, [0.5, 2.0]]
    assert (
        rows[1]["prediction_error"] == "forward: NotFinite: the model gave NaN or infinite components of its embedding"
    )
    assert rows[1]["predicted_class"] is None


@pytest.mark.promise("M104")
def test_a_mean_of_no_tokens_is_zero_and_fails_the_check():
    task = a_task(
        EmbeddingOutput(length=3, pooling="mean"),
        "output_nets:tokens",
        features=[SequenceFeature(column="ids", dtype="int64")],
    )
    tally = Tally()
    batch = pa.record_batch({"id": [0, 1, 2], "ids": pa.array([[5, 7], [], []], pa.list_(pa.int64()))})
    found = list(predict_map(0, [batch], task, 2, model_loader=ModelLoader("."), tally=tally))
    vectors = [vector for part in found for vector in part.column("embedding").to_pylist()]
    assert vectors == [[6.0, 1.0, 6.0], [0.0] * 3, [0.0] * 3]
    (outcome,) = task.output.checks(tally, ())
    assert (outcome.passed, outcome.details) == (False, {"vectors of a single number": 2})
