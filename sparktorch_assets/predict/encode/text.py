"""Encodes text as tokens: UTF-8 bytes directly from Arrow's buffers, or the tokens of a `tokenizers` file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.encode.columns import column_of, null_failures
from sparktorch_assets.predict.encode.encoded import EncodedFeature, RaggedFeature
from sparktorch_assets.predict.encode.origins import WordRule, byte_origin, object_array, token_origin
from sparktorch_assets.predict.failures import RowFailure, is_about_the_row
from sparktorch_assets.predict.file_bounds import MAX_TOKENIZER_BYTES, check_size
from sparktorch_assets.tasks.features.text import BYTES_TOKENIZER, TEXT_PLACE, TextFeature

_SPACES = {
    " .": ".",
    " ?": "?",
    " !": "!",
    " ,": ",",
    " ' ": "'",
    " n't": "n't",
    " 'm": "'m",
    " 's": "'s",
    " 've": "'ve",
    " 're": "'re",
}
"""What `clean_up_tokenization_spaces` replaces, in this order, in transformers' `clean_up_tokenization`."""


class TextEncoder:
    """Encodes a text column, or a pair of them, as token ids and lengths."""

    def __init__(self, feature: TextFeature, models_root: Path, *, origins: bool = False) -> None:
        self.columns = feature.columns
        self.row_bytes = None
        self._feature = feature
        self._padding, self._type_padding = feature.padding_id or 0, 0
        self._tokenizer = None
        self._keeps_origins = origins
        self._before = None if feature.template is None else len(feature.template.split(TEXT_PLACE)[0])
        """Number of characters that the template has before the text."""
        if feature.tokenizer != BYTES_TOKENIZER:
            self._tokenizer = _read_tokenizer(models_root / feature.tokenizer)
            padded = self._tokenizer.padding or {}
            if feature.padding_id is None:
                self._padding = padded.get("pad_id", 0)
            self._type_padding = padded.get("pad_type_id", 0)
            self._tokenizer.no_padding()  # batches are padded when they are collated
            self._tokenizer.enable_truncation(max_length=feature.max_tokens, direction=feature.truncation_side)
            self._words = WordRule(self._tokenizer) if origins else None

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Concatenate the tokens of all rows, with their offsets."""
        failures: dict[int, RowFailure] = {}
        first, *second = [self._texts(batch, name, failures) for name in self.columns]
        texts = first.to_pylist() if self._keeps_origins else None
        if self._feature.template is not None:
            before, after = (pa.scalar(part, pa.large_string()) for part in self._feature.template.split(TEXT_PLACE))
            first = pc.binary_join_element_wise(before, first.cast(before.type), after, pa.scalar("", before.type))
        if self._tokenizer is None:
            return self._byte_tokens(first, failures, texts)
        return self._tokens(first, second, failures, texts)

    def decode(self, rows: Sequence[Sequence[int]], clean_up: bool = False) -> list[str]:
        """The texts of the token ids of several rows, without special tokens; with `clean_up`, without the spaces that a
        tokenizer leaves before punctuation, unless its model is byte-pair encoding, which keeps a text's own spaces."""
        if self._tokenizer is not None:
            texts: list[str] = self._tokenizer.decode_batch(rows, skip_special_tokens=True)
            cleans = clean_up and type(self._tokenizer.model).__name__ != "BPE"
            return [_cleaned(text) for text in texts] if cleans else texts
        return [bytes(one - 1 for one in ids if 0 < one <= 256).decode(errors="replace") for ids in rows]

    def _texts(self, batch: pa.RecordBatch, name: str, failures: dict[int, RowFailure]) -> pa.Array:
        column = column_of(batch, name)
        if self._feature.fill is None:
            failures |= null_failures(column, f"column {name!r}")
        if pa.types.is_null(column.type):  # the inferred type of a column of dicts without any text
            column = column.cast(pa.string())
        return column.fill_null(self._feature.fill or "")

    def _byte_tokens(
        self, column: pa.Array, failures: dict[int, RowFailure], texts: list[str] | None
    ) -> EncodedFeature:
        starts_N, whole_N, data = _bytes_of(column)
        lengths_N = np.minimum(whole_N, self._feature.max_tokens)
        firsts_N = whole_N - lengths_N if self._feature.truncation_side == "left" else np.zeros_like(whole_N)
        kept_N1 = np.concatenate(([0], np.cumsum(lengths_N)))
        origins = None
        if texts is not None:
            kept = zip(texts, column.to_pylist(), firsts_N.tolist(), lengths_N.tolist(), strict=True)
            origins = object_array([byte_origin(*row, self._before) for row in kept])
        return RaggedFeature(
            _gathered(data, starts_N + firsts_N, lengths_N, kept_N1).astype(np.int16) + 1,
            kept_N1,
            lengths_N,
            failures,
            whole_N > lengths_N,
            padding=self._padding,
            origins=origins,
        )

    def _tokens(
        self, column: pa.Array, second: list[pa.Array], failures: dict[int, RowFailure], texts: list[str] | None
    ) -> EncodedFeature:
        filled = [one.to_pylist() for one in (column, *second)]
        given = list(zip(*filled, strict=True)) if second else filled[0]
        # The fast way finds no offsets.
        encode = self._tokenizer.encode_batch_fast if texts is None else self._tokenizer.encode_batch  # type: ignore[union-attr]
        found = encode(given)
        ids = [encoding.ids for encoding in found]
        lengths_N = np.fromiter((len(row) for row in ids), dtype=np.int64, count=len(ids))
        offsets_N1 = np.concatenate(([0], np.cumsum(lengths_N)))
        truncated_N = lengths_N >= self._feature.max_tokens
        for row in np.flatnonzero(truncated_N):  # a text of exactly max_tokens tokens was not truncated
            truncated_N[row] = bool(found[row].overflowing)
        return RaggedFeature(
            _joined(ids),
            offsets_N1,
            lengths_N,
            failures,
            truncated_N,
            padding=self._padding,
            types=_joined([encoding.type_ids for encoding in found]) if self._feature.type_ids else None,
            type_padding=self._type_padding,
            origins=None if texts is None else self._origins(texts, filled[0], found),
        )

    def _origins(self, texts: list[str], filled: list[str], found: list[Any]) -> npt.NDArray[np.object_]:
        assert self._words is not None
        rows = zip(texts, filled, found, strict=True)
        return object_array([token_origin(*row, self._words, self._before) for row in rows])


def _cleaned(text: str) -> str:
    for before, after in _SPACES.items():
        text = text.replace(before, after)
    return text


def _bytes_of(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where the bytes of each text begin in a buffer, how many there are, and the buffer. The texts are not copied."""
    if not pa.types.is_string(column.type):
        column = column.cast(pa.large_string())
    width = np.dtype(np.int32 if pa.types.is_string(column.type) else np.int64)
    _, offsets, data = column.buffers()
    if not len(column):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    places_N1 = np.frombuffer(offsets, width)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    return places_N1[:-1], np.diff(places_N1), np.frombuffer(data or b"", np.uint8)


def _gathered(
    data: npt.NDArray[np.uint8],
    starts_N: npt.NDArray[np.int64],
    lengths_N: npt.NDArray[np.int64],
    kept_N1: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    """The bytes of all rows, one after the other: those of row n are `data[starts_N[n]:][:lengths_N[n]]`.

    Only these are touched. A window of long texts of which the model sees the first 256 bytes takes no memory for the
    rest.
    """
    total = int(kept_N1[-1])
    if total == 0:
        return data[:0]
    first = int(starts_N[0])
    if first + total == int(starts_N[-1] + lengths_N[-1]) and (starts_N - first == kept_N1[:-1]).all():
        return data[first : first + total]  # nothing was truncated
    return data[np.repeat(starts_N - kept_N1[:-1], lengths_N) + np.arange(total)]


def _joined(rows: list[list[int]]) -> npt.NDArray[np.int64]:
    return np.fromiter((number for row in rows for number in row), dtype=np.int64)


def _read_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    check_size(path, "tokenizer", MAX_TOKENIZER_BYTES)
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:
        if not is_about_the_row(error):  # a panic in the library's Rust code is not an Exception
            raise
        raise ModelError(f"{path} is not a `tokenizers` JSON file: {error}") from error
