"""Counts what the checks of labels and their scores look at."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.predict.outputs.numbers import mark
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs.label_checks import NO_LABEL


def count_labels(labels: pa.Array, tally: Tally) -> None:
    """Add how often each label occurs, and how many are null, as a hook may have made them."""
    mark(NO_LABEL, labels.null_count, tally)
    for item in pc.value_counts(labels.drop_null()):
        name = item["values"].as_py()
        tally.classes[name] = tally.classes.get(name, 0) + item["counts"].as_py()


def is_outside(scores: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which scores do not lie in [0, 1], NaN among them."""
    return ~((scores >= 0) & (scores <= 1))
