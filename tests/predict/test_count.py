"""What the counts say of finished rows, whoever made them."""

import math

import pyarrow as pa
import pytest

from sparktorch_assets.predict.count import count_predictions
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import CONFIDENCE_BINS, Tally
from sparktorch_assets.tasks import Hooks

NULL = RowFailure("encode", "Null", "column 'x' is null")


def finished(classes, confidences):
    columns = {"predicted_class": classes, "confidence": pa.array(confidences, pa.float32())}
    return pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize("plain", [False, True])
def test_classes_count_alike_as_strings_and_as_indices(plain, echo_task):
    """The built-in model's indices and a user's strings; failed rows have no class."""
    classes = pa.array(["b", None, "a", "b"]).dictionary_encode()
    batch = finished(classes.cast(pa.string()) if plain else classes, [0.5, None, 0.25, 1.0])
    tally = Tally(rows=4)
    count_predictions(batch, {1: NULL}, echo_task(), "cpu", tally)
    assert tally.balanced
    assert (tally.classes, tally.confidence_sum) == ({"a": 1, "b": 2}, 1.75)
    assert (tally.reasons, tally.devices) == ({"encode: Null": 1}, {"cpu": 4})


def test_the_histogram_holds_0_and_1_and_nothing_beyond(echo_task):
    """Both ends of the range are in a bin; below, above and NaN are in none, so that the check on the range sees them."""
    batch = finished(["a"] * 7, [0.0, 0.05, 0.999, 1.0, 1.001, -0.001, float("nan")])
    tally = Tally()
    count_predictions(batch, {}, echo_task(), "cpu", tally)
    expected = [0] * CONFIDENCE_BINS
    expected[0], expected[1], expected[-1] = 1, 1, 2
    assert tally.confidence_histogram == expected
    assert tally.predicted - sum(tally.confidence_histogram) == 3


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 3e38, -1.0])
def test_no_confidence_poisons_the_counts(value, echo_task):
    """A value outside [0, 1] is in no sum, so that the mean of the others stays, also once its part is gone."""
    tally = Tally()
    count_predictions(finished(["a"] * 3, [0.5, value, 0.25]), {}, echo_task(), "cpu", tally)
    assert tally.confidence_sum == 0.75
    assert tally.confidence_mean == 0.375
    assert math.isfinite(Tally.total([tally, tally]).confidence_sum)


def test_a_postprocessor_that_leaves_the_range_shows_in_the_counts(echo_task, table, loader):
    """Through the predictor itself: two of the five confidences are no shares."""

    def double_odd(row):
        return {**row, "confidence": 2.0 if row["id"] % 2 else 0.5}

    tally = Tally()
    task = echo_task(hooks=Hooks(row_postprocessor=double_odd))
    list(predict_map(0, [table(5)], task, 2, model_loader=loader, tally=tally))
    assert (tally.predicted, sum(tally.confidence_histogram)) == (5, 3)
