"""Predictions compared with the truth: what receipts count, against plain Python over the same rows."""

import json
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import HookError, InputSchemaError, TaskError
from sparktorch_assets.predict.outputs.truth import count_truth
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    ClassificationOutput,
    EmbeddingOutput,
    Hooks,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
)
from sparktorch_assets.tasks.outputs.report import ShownConfusion, ShownReliability, ShownTable
from sparktorch_assets.tasks.outputs.truth import MOST_CLASSES, pair_key

LABELS = ("a", "b", "c")


def a_task(output: Any = None, labels: Any = LABELS, **changes: Any) -> MlTask:
    return MlTask(
        name="t",
        model=ModelSpec(weights="m.pt2"),
        features=[NumericFeature(columns=["x"])],
        labels=labels,
        output=output or ClassificationOutput(),
        truth="truth",
        **changes,
    )


def classified(predicted: Any, confidence: Any) -> pa.RecordBatch:
    columns = {"predicted_class": pa.array(predicted, pa.string()), "confidence": pa.array(confidence, pa.float32())}
    return pa.RecordBatch.from_pydict(columns)


def tally_of(batch: pa.RecordBatch, truth: pa.Array, task: MlTask | None = None) -> Tally:
    tally = Tally()
    count_truth(batch, truth, task or a_task(), tally)
    return tally


ROWS = st.lists(
    st.tuples(
        st.sampled_from([*LABELS, "unheard of", None]),
        st.sampled_from([*LABELS, None]),
        st.sampled_from([0.0, 0.32, 0.5, 1.0]),
    ),
    max_size=30,
)


@given(ROWS)
@pytest.mark.promise("O93")
def test_pairs_and_bins_are_those_of_the_rows(rows):
    """Rows that failed (no class) are not compared; those without a truth are counted apart."""
    truths, predicted, confidences = zip(*rows, strict=True) if rows else ((), (), ())
    batch = classified(predicted, [sure if found else None for found, sure in zip(predicted, confidences, strict=True)])
    tally = tally_of(batch, pa.array(truths, pa.string()))
    known = [row for row in rows if row[0] is not None and row[1] is not None]
    pairs = Counter(pair_key(truth if truth in LABELS else None, found) for truth, found, _ in known)
    assert tally.confusion == pairs
    bins = Counter(str(min(19, int(sure * 20))) for _, _, sure in known)
    right = Counter(str(min(19, int(sure * 20))) for truth, found, sure in known if truth == found)
    assert (tally.calibration_rows, tally.calibration_right) == (bins, right)
    assert sum(tally.calibration_confidence.values()) == pytest.approx(sum(sure for _, _, sure in known))
    assert tally.marks.get("rows without a truth", 0) == sum(1 for truth, found, _ in rows if truth is None and found)


@given(ROWS, ROWS)
@pytest.mark.promise("O93")
def test_counts_of_parts_add_up_to_those_of_the_whole(one, other):
    def count(rows: Any) -> Tally:
        truths, predicted, confidences = zip(*rows, strict=True) if rows else ((), (), ())
        return tally_of(classified(predicted, confidences), pa.array(truths, pa.string()))

    parts, whole = Tally.total([count(one), count(other)]), count([*one, *other])
    assert parts.confusion == whole.confusion
    assert parts.calibration_rows == whole.calibration_rows
    assert Tally.from_plain(json.loads(json.dumps(whole.to_plain()))) == whole


@pytest.mark.parametrize(
    ("truth", "labels"),
    [
        (pa.array([3, 4, None], pa.int64()), ("3", "4")),
        (pa.array([True, False, None]), ("true", "false")),
        (pa.array(["x", "y", None]).dictionary_encode(), ("x", "y")),
        (pa.array(["x", "y", None], pa.large_string()), ("x", "y")),
    ],
)
def test_a_true_class_may_be_a_text_a_whole_number_or_a_boolean(truth, labels):
    task = a_task(labels=labels)
    task.check_input({"x": "double", "truth": str(truth.type)})
    tally = tally_of(classified([labels[0]] * 3, [1.0] * 3), truth, task)
    assert tally.confusion == {pair_key(labels[0], labels[0]): 1, pair_key(labels[1], labels[0]): 1}


@pytest.mark.promise("O94")
def test_many_classes_take_bounded_space():
    """With thousands of labels, and a truth that is something else in every row, counts stay as many as labels."""
    labels = [f"class {place}" for place in range(MOST_CLASSES + 1)]
    truths = [*labels, *(f"other {place}" for place in range(500))]
    predicted = [labels[-1]] * len(truths)
    tally = tally_of(classified(predicted, [0.9] * len(truths)), pa.array(truths), a_task(labels=labels))
    assert len(tally.confusion) == len(labels) + 1
    assert tally.confusion[pair_key(labels[0], None)] == 1
    assert tally.confusion[pair_key(labels[-1], labels[-1])] == 1
    assert tally.confusion[pair_key(None, None)] == 500
    assert ClassificationOutput().page(tally)["accuracy"] == 1 / len(truths)


@pytest.mark.promise("O157", "O159")
def test_the_page_says_accuracy_calibration_and_confusions():
    truths = ["a"] * 6 + ["b"] * 3 + ["c"]
    predicted = ["a"] * 6 + ["b", "a", "a"] + ["b"]
    confidences = [0.9] * 6 + [0.9, 0.5, 0.5, 0.5]
    page = ClassificationOutput().page(tally_of(classified(predicted, confidences), pa.array(truths)))
    assert page["accuracy"] == 0.7
    assert page["majority_class_share"] == 0.6
    assert page["rows_with_truth"] == 10
    # Seven rows of confidence 0.9 are right, and three of confidence 0.5 are wrong.
    assert page["expected_calibration_error"] == pytest.approx(0.7 * 0.1 + 0.3 * 0.5)
    reliability, matrix, confusions = (page[name] for name in ("reliability", "confusion_matrix", "biggest_confusions"))
    assert isinstance(reliability, ShownReliability)
    assert [(found.place, found.rows, found.accuracy) for found in reliability.bins] == [(10, 3, 0.0), (18, 7, 1.0)]
    assert isinstance(matrix, ShownConfusion)
    assert (list(matrix.classes), [list(cells) for cells in matrix.rows]) == (
        ["a", "b", "c"],
        [[6, 0, 0], [2, 1, 0], [0, 1, 0]],
    )
    assert isinstance(confusions, ShownTable)
    assert confusions.rows[0] == ["b", "a", "2", "66.7%"]


def test_a_page_of_many_classes_shows_the_most_frequent_ones_and_the_rest_together():
    labels = [f"{place:02}" for place in range(30)]
    truths = [label for place, label in enumerate(labels) for _ in range(30 - place)]
    page = ClassificationOutput().page(
        tally_of(classified(truths, [1.0] * len(truths)), pa.array(truths), a_task(labels=labels))
    )
    matrix = page["confusion_matrix"]
    assert isinstance(matrix, ShownConfusion)
    assert list(matrix.classes) == [*labels[:20], "(other)"]
    assert matrix.rows[-1][-1] == sum(range(1, 11))
    assert page["accuracy"] == 1.0
    assert "biggest_confusions" not in page


def test_a_label_may_have_the_name_under_which_the_rest_is_shown():
    labels = ["cat", "(other)"]
    page = ClassificationOutput().page(
        tally_of(classified(["(other)", "cat"], [1.0, 1.0]), pa.array(["(other)", "dog"]), a_task(labels=labels))
    )
    assert page["accuracy"] == 0.5


@pytest.mark.parametrize("truth", [[2**60 + 1, 4], [-(2**63), 4]])
def test_a_true_number_beyond_those_that_a_double_holds_exactly_costs_no_run(truth):
    task = a_task(RegressionOutput(names=["y"]), labels=())
    rows = pa.RecordBatch.from_pydict({"predicted_y": pa.array([float(truth[0]), 3.0])})
    tally = tally_of(rows, pa.array(truth, pa.int64()), task)
    assert task.output.page(tally)["bias"] == -0.5


def test_a_class_below_the_threshold_is_wrong_but_has_no_confidence_of_its_own():
    task = a_task(ClassificationOutput(threshold=0.5, below="unsure"))
    tally = tally_of(classified(["a", "unsure"], [0.9, 0.3]), pa.array(["a", "b"]), task)
    assert task.output.page(tally)["accuracy"] == 0.5
    assert tally.calibration_rows == {"18": 1}


@given(
    st.lists(
        st.tuples(st.sampled_from([None, 1.0, -2.5, 4.0, math.nan, math.inf]), st.floats(-9, 9)),
        min_size=1,
        max_size=20,
    )
)
@pytest.mark.promise("O158")
def test_errors_of_numbers_are_those_of_the_rows(rows):
    truths, values = zip(*rows, strict=True)
    task = a_task(RegressionOutput(names=["y"]), labels=())
    tally = tally_of(
        pa.RecordBatch.from_pydict({"predicted_y": pa.array(values, pa.float64())}),
        pa.array(truths, pa.float64()),
        task,
    )
    known = [(value - truth, truth) for truth, value in rows if truth is not None and math.isfinite(truth)]
    page = task.output.page(tally)
    assert page.get("rows_without_truth", 0) == len(rows) - len(known)
    if known:
        errors = [error for error, _ in known]
        squared = sum(error**2 for error in errors) / len(errors)
        assert page["mean_absolute_error"] == pytest.approx(sum(map(abs, errors)) / len(errors))
        assert page["root_mean_squared_error"] == pytest.approx(math.sqrt(squared), abs=1e-9)
        assert page["bias"] == pytest.approx(sum(errors) / len(errors), abs=1e-12)
        mean = sum(truth for _, truth in known) / len(known)
        variance = sum((truth - mean) ** 2 for _, truth in known) / len(known)
        if variance > 1e-9:
            assert page["r_squared"] == pytest.approx(1 - squared / variance)


@given(st.lists(st.tuples(*[st.none() | st.lists(st.sampled_from([*LABELS, "?"]), max_size=4)] * 2), max_size=12))
@pytest.mark.promise("O95")
def test_labels_are_compared_row_by_row(rows):
    """F1 over all labels of all rows; a label that is named twice counts once, and a true label that the task does not
    know is one label that was missed."""
    truths, predicted = zip(*rows, strict=True) if rows else ((), ())
    predicted = [None if found is None else [label for label in found if label in LABELS] for found in predicted]
    columns = {"predicted_labels": pa.array(predicted, pa.list_(pa.string()))}
    task = a_task(MultilabelOutput())
    tally = tally_of(pa.RecordBatch.from_pydict(columns), pa.array(truths, pa.list_(pa.string())), task)
    known = [(set(a), set(b)) for a, b in zip(truths, predicted, strict=True) if a is not None and b is not None]
    right, missed, wrong = (
        (sum(map(len, found)) for found in zip(*((a & b, a - b, b - a) for a, b in known), strict=True))
        if known
        else (0, 0, 0)
    )
    page = task.output.page(tally)
    if right + missed + wrong:
        assert page["micro_f1"] == pytest.approx(2 * right / (2 * right + missed + wrong))
    else:
        assert "micro_f1" not in page
    assert page.get("micro_precision") == (pytest.approx(right / (right + wrong)) if right + wrong else None)


@pytest.mark.promise("O93")
def test_the_predictor_compares_what_the_hooks_leave(echo_task, loader):
    """Rows that a hook drops are not compared, and the truth is the input's, whatever a hook makes of it. It need not be
    kept."""

    def drop_first(row):
        return None if row["x"] == 5.0 else {**row, "truth": "nonsense"}

    rows = pa.record_batch({"x": [5.0, 1.0, -1.0, 2.0], "truth": ["1", "1", "1", None]})
    task = echo_task(truth="truth", keep_columns=["x"], hooks=Hooks(row_postprocessor=drop_first))
    tally = Tally()
    (found,) = predict_map(0, [rows], task, 2, model_loader=loader, tally=tally)
    assert tally.confusion == {pair_key("1", "1"): 1, pair_key("1", "0"): 1}
    assert tally.marks == {"rows without a truth": 1}
    assert "truth" not in found.schema.names


def test_a_preprocessor_that_does_not_make_the_truth_is_an_error(echo_task, loader):
    task = echo_task(truth="truth", hooks=Hooks(row_preprocessor=lambda row: row))
    rows = pa.record_batch({"x": [1.0]})
    with pytest.raises(HookError, match="neither the input nor the preprocessor gives the column truth='truth'"):
        list(predict_map(0, [rows], task, 2, model_loader=loader))


@pytest.mark.promise("O96")
@pytest.mark.parametrize(
    ("output", "labels"),
    [(EmbeddingOutput(length=2), ()), (RegressionOutput(names=["a", "b"]), ()), (RegressionOutput(length=3), ())],
)
def test_what_cannot_be_compared_is_refused_where_it_is_declared(output, labels):
    with pytest.raises(
        TaskError, match="truth='truth' is a column with one class.* classification, .* Leave truth out"
    ):
        a_task(output, labels)


@pytest.mark.promise("O96")
@pytest.mark.parametrize(
    ("output", "labels", "found"),
    [
        (ClassificationOutput(), LABELS, "double"),
        (MultilabelOutput(), LABELS, "string"),
        (RegressionOutput(), (), "string"),
        (RegressionOutput(), (), "bool"),
    ],
)
def test_a_truth_of_a_wrong_type_or_none_is_refused_before_any_row(output, labels, found):
    task = a_task(output, labels)
    with pytest.raises(InputSchemaError, match=f"truth 'truth' has type {found}; it must be the"):
        task.check_input({"x": "double", "truth": found})
    with pytest.raises(InputSchemaError, match="truth needs column 'truth'"):
        task.check_input({"x": "double", "truths": "string"})
    replace(task, truth=None).check_input({"x": "double"})
