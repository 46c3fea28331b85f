"""Encodes text as tokens: UTF-8 bytes directly from Arrow's buffers, or the tokens of a `tokenizers` file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.encode.columns import column_of, null_failures
from sparktorch_assets.predict.encode.encoded import EncodedFeature, RaggedFeature
from sparktorch_assets.predict.failures import RowFailure, is_about_the_row
from sparktorch_assets.predict.file_bounds import MAX_TOKENIZER_BYTES, check_size
from sparktorch_assets.tasks.features import BYTES_TOKENIZER, TextFeature


class TextEncoder:
    """Encodes a text column as token ids and lengths; 0 is the padding value."""

    def __init__(self, feature: TextFeature, models_root: Path) -> None:
        self.columns = feature.columns
        self.row_bytes = None
        self._fill = feature.fill
        self._max_tokens = feature.max_tokens
        self._tokenizer = (
            None
            if feature.tokenizer == BYTES_TOKENIZER
            else _read_tokenizer(models_root / feature.tokenizer, feature.max_tokens)
        )

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Concatenate the tokens of all rows, with their offsets."""
        (name,) = self.columns
        column = column_of(batch, name)
        failures = null_failures(column, f"column {name!r}") if self._fill is None else {}
        if pa.types.is_null(column.type):  # the inferred type of a column of dicts without any text
            column = column.cast(pa.string())
        column = column.fill_null(self._fill or "")
        return self._byte_tokens(column, failures) if self._tokenizer is None else self._tokens(column, failures)

    def _byte_tokens(self, column: pa.Array, failures: dict[int, RowFailure]) -> EncodedFeature:
        column = column.cast(pa.large_string())
        _, offsets_buffer, data_buffer = column.buffers()
        offsets_N1 = np.frombuffer(offsets_buffer, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
        data = np.frombuffer(data_buffer or b"", dtype=np.uint8)
        lengths_N = np.diff(offsets_N1)
        truncated_N = lengths_N > self._max_tokens
        lengths_N = np.minimum(lengths_N, self._max_tokens)
        first, last = (int(offsets_N1[0]), int(offsets_N1[-1])) if len(offsets_N1) else (0, 0)
        return RaggedFeature(
            data[first:last].astype(np.int16) + 1, offsets_N1 - first, lengths_N, failures, truncated_N
        )

    def _tokens(self, column: pa.Array, failures: dict[int, RowFailure]) -> EncodedFeature:
        found = self._tokenizer.encode_batch_fast(column.to_pylist())  # type: ignore[union-attr]
        ids = [encoding.ids for encoding in found]
        lengths_N = np.fromiter((len(row) for row in ids), dtype=np.int64, count=len(ids))
        offsets_N1 = np.concatenate(([0], np.cumsum(lengths_N)))
        tokens = np.fromiter((token for row in ids for token in row), dtype=np.int64, count=int(offsets_N1[-1]))
        truncated_N = lengths_N >= self._max_tokens
        for row in np.flatnonzero(truncated_N):  # a text of exactly max_tokens tokens was not truncated
            truncated_N[row] = bool(found[row].overflowing)
        return RaggedFeature(tokens, offsets_N1, lengths_N, failures, truncated_N)


def _read_tokenizer(path: Path, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    check_size(path, "tokenizer", MAX_TOKENIZER_BYTES)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:
        if not is_about_the_row(error):  # a panic in the library's Rust code is not an Exception
            raise
        raise ModelError(f"{path} is not a `tokenizers` JSON file: {error}") from error
    tokenizer.enable_truncation(max_length=max_tokens)
    tokenizer.no_padding()  # batches are padded when they are collated
    return tokenizer
