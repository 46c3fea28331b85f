"""Encodes the rows of a window, one feature group after the other. A row for which an encoder raises fails alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.predict.encode.encoded import EncodedFeature
from sparktorch_assets.predict.encode.encoders import FeatureEncoder
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows, is_about_the_row

ODD_SHAPE = RowFailure(
    "encode", "OddShape", "the encoder made tensors of another shape for this row than for most others"
)


@dataclass(kw_only=True, slots=True)
class EncodedWindow:
    """A window of N rows, ready for the network."""

    window_rows: int
    rows: Rows
    """For each position in the features, its row in the window: all rows except those on which an encoder raised."""
    features: list[EncodedFeature]
    failures: dict[int, RowFailure]
    """The failures so far, by row of the window."""
    truncated_N: npt.NDArray[np.bool_]
    """Whether each row of the window was truncated, so that the model sees only its beginning."""

    @property
    def row_bytes(self) -> int | None:
        """Average number of bytes of a row's tensors; `None` if no row was encoded."""
        return sum(feature.nbytes for feature in self.features) // len(self.rows) if len(self.rows) else None


def encode_window(batch: pa.RecordBatch, encoders: Sequence[FeatureEncoder], quarantine: Quarantine) -> EncodedWindow:
    """Encode all rows of `batch` as the feature groups of `encoders`.

    Raises:
        SparktorchError: raised by an encoder about the task as a whole, such as a missing column.
        ModelError: no row can be encoded.
    """
    rows = np.arange(batch.num_rows)
    failures: dict[int, RowFailure] = {}
    features: list[EncodedFeature] = []
    try:
        if batch.num_rows:
            features = [encoder.encode(batch) for encoder in encoders]
    except SparktorchError:
        raise
    except BaseException as error:  # an encoder raised on some row: find it, and keep the others
        if not is_about_the_row(error):
            raise
        pieces, failures = quarantine.run(
            "encode", rows, lambda part: [encoder.encode(batch.take(pa.array(part))) for encoder in encoders]
        )
        rows, features, odd = _joined(pieces)
        failures |= odd
    truncated_N = np.zeros(batch.num_rows, dtype=bool)
    for feature in features:
        failures |= {int(rows[position]): failure for position, failure in feature.failures.items()}
        if feature.truncated_N is not None:
            truncated_N[rows[feature.truncated_N]] = True
    return EncodedWindow(
        window_rows=batch.num_rows, rows=rows, features=features, failures=failures, truncated_N=truncated_N
    )


def _joined(
    pieces: list[tuple[Rows, list[EncodedFeature]]],
) -> tuple[Rows, list[EncodedFeature], dict[int, RowFailure]]:
    """Join pieces of a window that were encoded one by one; rows with another shape than most rows fail."""
    sizes: Counter[tuple[object, ...]] = Counter()
    for part, features in pieces:
        sizes[_shape(features)] += len(part)
    if not sizes:
        return np.arange(0), [], {}
    usual = sizes.most_common(1)[0][0]
    alike = [(part, features) for part, features in pieces if _shape(features) == usual]
    failures = {int(row): ODD_SHAPE for part, features in pieces if _shape(features) != usual for row in part}
    first, *others = [features for _, features in alike]
    joined = [feature.joined([several[place] for several in others]) for place, feature in enumerate(first)]
    return np.concatenate([part for part, _ in alike]), joined, failures


def _shape(features: Sequence[EncodedFeature]) -> tuple[object, ...]:
    return tuple(feature.shape for feature in features)
