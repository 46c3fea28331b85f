"""Makes encoders from feature groups; an encoder turns the columns of a window into an `EncodedFeature`.

Shapes: N rows of the window, F numeric columns, K categorical columns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from sparktorch_assets.errors import HookError, InputSchemaError, ModelError, nearest
from sparktorch_assets.predict.encode.audio import AudioEncoder
from sparktorch_assets.predict.encode.columns import column_of, null_failures
from sparktorch_assets.predict.encode.encoded import DenseFeature, EncodedFeature
from sparktorch_assets.predict.encode.image import ImageEncoder
from sparktorch_assets.predict.encode.lookup import Lookup
from sparktorch_assets.predict.encode.sequence import SequenceEncoder, ragged
from sparktorch_assets.predict.encode.tensor import TensorEncoder
from sparktorch_assets.predict.encode.text import TextEncoder
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.file_bounds import MAX_VOCABULARY_BYTES, read_json
from sparktorch_assets.predict.protocols import Encoder
from sparktorch_assets.predict.rows.convert import own_memory
from sparktorch_assets.tasks.code.import_path import load_import_path
from sparktorch_assets.tasks.features import (
    AudioFeature,
    CategoricalFeature,
    CustomFeature,
    Feature,
    ImageFeature,
    NumericFeature,
    SequenceFeature,
    TensorFeature,
    TextFeature,
)
from sparktorch_assets.tasks.validation import Scalar


class FeatureEncoder(Protocol):
    """Encodes the columns of a window as one feature group."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that the encoder reads."""
        ...

    @property
    def row_bytes(self) -> int | None:
        """Bytes of one row's tensors; `None` if they differ between rows or are known only after encoding."""
        ...

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Encode all rows of `batch`, which has at least `columns`; the result's `failures` lists rows that cannot be
        encoded."""
        ...


def make_encoder(
    feature: Feature, models_root: Path, *, origins: bool = False, on_device: bool = False
) -> FeatureEncoder:
    """Make the encoder of a declared feature group; its files are read here, once.

    Args:
        feature: the feature group.
        models_root: the folder that the paths of its files are relative to.
        origins: whether a text or an image encoder keeps what relates the network's places to the row: see
            `origins.py`.
        on_device: whether an image encoder leaves it to the network's device to normalize pixels.

    Raises:
        ModelError: a vocabulary or tokenizer file is missing or malformed.
        HookError: a custom encoder's factory did not return a callable.
    """
    made: FeatureEncoder
    match feature:
        case NumericFeature():
            made = NumericEncoder(feature)
        case CategoricalFeature():
            made = CategoricalEncoder(feature, models_root)
        case TextFeature():
            made = TextEncoder(feature, models_root, origins=origins)
        case SequenceFeature():
            made = SequenceEncoder(feature)
        case TensorFeature():
            made = TensorEncoder(feature)
        case ImageFeature():
            made = ImageEncoder(feature, origins=origins, on_device=on_device)
        case AudioFeature():
            made = AudioEncoder(feature)
        case CustomFeature():
            made = CustomEncoder(feature)
    return made


class NumericEncoder:
    """Encodes numeric columns as `x_NF`, float32."""

    def __init__(self, feature: NumericFeature) -> None:
        self.columns = tuple(feature.columns)
        self.row_bytes = 4 * len(self.columns)
        self._fill = feature.fill

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Cast each column to float32, and stack them."""
        x_NF = np.empty((batch.num_rows, len(self.columns)), dtype=np.float32)
        failures: dict[int, RowFailure] = {}
        for f, name in enumerate(self.columns):
            column = column_of(batch, name)
            if self._fill is None:
                failures |= null_failures(column, f"column {name!r}")
            x_N = column if column.type == pa.float32() else column.cast(pa.float32(), safe=False)
            if x_N.null_count:
                x_N = x_N.fill_null(0.0 if self._fill is None else self._fill)
            x_NF[:, f] = x_N.to_numpy(zero_copy_only=False)
        return DenseFeature((torch.from_numpy(x_NF),), failures)


class CategoricalEncoder:
    """Encodes categorical columns as `c_NK`, int64: 0 for a value that the vocabulary lacks, i + 1 for its entry i.

    Values of any type are looked up by their text form, which is Arrow's cast to string. Vocabulary entries are
    converted to the column's type first, so that `True`, "True" and "true" all match true in a boolean column, and 1,
    1.0 and "1.0" all match the number 1.
    """

    def __init__(self, feature: CategoricalFeature, models_root: Path) -> None:
        self.columns = tuple(feature.columns)
        self.row_bytes = 8 * len(self.columns)
        self._fill = feature.fill
        vocabulary = feature.vocabulary
        known: dict[str, Any]
        if isinstance(vocabulary, str):
            known = _read_vocabulary(models_root / vocabulary)
        else:
            known = dict(cast(Sequence[tuple[str, Any]], vocabulary))  # the feature has frozen it to pairs
        missing = [column for column in self.columns if column not in known]
        if missing:
            raise ModelError(
                f"vocabulary {vocabulary!r} has no values for {missing[0]!r}; {nearest(missing[0], known)}"
            )
        self._entries = {column: list(known[column]) for column in self.columns}
        self._lookups: dict[tuple[str, pa.DataType], tuple[Lookup, str | None]] = {}

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Look each column's values up in its vocabulary, and stack the indices."""
        c_NK = np.empty((batch.num_rows, len(self.columns)), dtype=np.int64)
        failures: dict[int, RowFailure] = {}
        for k, name in enumerate(self.columns):
            column = column_of(batch, name)
            lookup, fill = self._known(name, column.type)
            if self._fill is None:
                failures |= null_failures(column, f"column {name!r}")
            text = _text_of(column)
            if fill is not None:
                text = text.fill_null(fill)
            c_NK[:, k] = lookup.places(text)
        return DenseFeature((torch.from_numpy(c_NK) + 1,), failures)

    def _known(self, name: str, kind: pa.DataType) -> tuple[Lookup, str | None]:
        """The text forms of a column's vocabulary entries, and that of its fill value, for a column of type `kind`."""
        if (name, kind) not in self._lookups:
            value_kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if pa.types.is_nested(value_kind):
                raise InputSchemaError(f"categorical feature {name!r} has type {kind}, whose values have no text form")
            entries = self._entries[name]
            texts = text_forms(entries, value_kind)
            if entries and not pa.types.is_null(value_kind) and all(text is None for text in texts):
                raise InputSchemaError(
                    f"column {name!r} has type {kind}, and no entry of its vocabulary ({entries[0]!r} ...) is a value "
                    f"of that type: every row would be unknown. Give the vocabulary values of the column's type"
                )
            taken: dict[str, int] = {}
            for place, (entry, text) in enumerate(zip(entries, texts, strict=True)):
                if text is not None and (text not in taken or (entry == text and entries[taken[text]] != text)):
                    taken[text] = place  # "1" takes precedence over "01", which means the same number
            values = [text if text is not None and taken[text] == place else None for place, text in enumerate(texts)]
            fill = None if self._fill is None else text_form(self._fill, value_kind) or self._fill
            self._lookups[name, kind] = Lookup(pa.array(values, pa.string())), fill
        return self._lookups[name, kind]


def text_forms(values: Sequence[Any], kind: pa.DataType) -> list[str | None]:
    """The `text_form` of each value. Strings of a column of strings, and integers of one of integers, are converted all
    at once: of a million, one by one takes ten seconds."""
    kinds = set(map(type, values))
    try:
        if kinds == {str} and pa.types.is_string(kind):
            return cast(list[str | None], pa.array(values, kind).to_pylist())
        if kinds == {int} and pa.types.is_integer(kind):
            return cast(list[str | None], pa.array(values).cast(kind).cast(pa.string()).to_pylist())
    except (pa.ArrowException, ValueError, OverflowError):  # some value does not fit
        pass
    return [text_form(value, kind) for value in values]


def text_form(value: Any, kind: pa.DataType) -> str | None:
    """The text of a value after it was stored in a column of type `kind` and cast to string; `None` if it does not fit.

    >>> text_form("True", pa.bool_()), text_form(1.0, pa.int64()), text_form("1.0", pa.int64()), text_form("x",
    pa.int64()) ('true', '1', '1', None)
    """
    if value is None:
        return None
    try:
        alone = pa.array([str(value) if pa.types.is_decimal(kind) else value])
        if pa.types.is_null(kind):
            kind = pa.string()
        if pa.types.is_integer(kind) and pa.types.is_string(alone.type):
            alone = pa.array([int(value)] if value.lstrip("+-").isdecimal() else [float(value)])
        elif pa.types.is_boolean(kind) and not pa.types.is_string(alone.type) and value not in (0, 1):
            return None
        text = _text_of(alone.cast(kind))[0].as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return None if text is None else str(text)


def _text_of(column: pa.Array) -> pa.Array:
    """Values as text, the same text for equal values: -0.0 becomes 0."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, "-0"), "0", text) if pa.types.is_floating(column.type) else text


class CustomEncoder:
    """Calls a user's encoder and checks its result: a tensor or a tuple of tensors with one entry per row, or lists."""

    def __init__(self, feature: CustomFeature) -> None:
        self.columns = tuple(feature.columns)
        self.row_bytes = None
        self._sequences = feature.sequences
        self._named = feature.argument
        self._path = feature.encoder
        self._encoder: Encoder = load_import_path(feature.encoder, "CustomFeature.encoder")(**dict(feature.arguments))
        if not callable(self._encoder):
            raise HookError(f"encoder {self._path!r} returned a {type(self._encoder).__name__}, which is not callable")

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Call the user's encoder with the columns.

        Raises:
            HookError: the result does not have one entry per row, or consists of several tensors although the feature
                names a single argument.
        """
        found = self._encoder(batch.select(list(self.columns)))  # may be a buffer that the encoder will reuse
        if self._sequences:
            if not isinstance(found, pa.Array) or len(found) != batch.num_rows:
                gave = f"{len(found)} lists" if isinstance(found, pa.Array) else type(found).__name__
                raise HookError(
                    f"encoder {self._path!r} returned {gave} for {batch.num_rows} rows; expected a pyarrow.ListArray "
                    f"with one list per row, because the feature declares sequences"
                )
            return ragged(own_memory(found), f"the result of encoder {self._path!r}")
        tensors = found if isinstance(found, tuple) else (found,)
        if self._named is not None and len(tensors) != 1:
            raise HookError(
                f"encoder {self._path!r} returned {len(tensors)} tensors, and its feature names one argument "
                f"({self._named!r}); return one tensor, or leave the name out"
            )
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor) or tensor.ndim == 0 or len(tensor) != batch.num_rows:
                shape = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
                raise HookError(
                    f"encoder {self._path!r} returned {shape} for {batch.num_rows} rows; expected one entry per row"
                )
        return DenseFeature(tuple(tensor.clone() for tensor in tensors))


def _read_vocabulary(path: Path) -> dict[str, list[str]]:
    known = read_json(path, "vocabulary", MAX_VOCABULARY_BYTES)
    if not isinstance(known, dict) or not all(isinstance(values, list) for values in known.values()):
        raise ModelError(f"vocabulary file {path} must hold one object: column -> list of known values")
    for column, values in known.items():
        for value in values:
            if not isinstance(value, Scalar):
                raise ModelError(
                    f"vocabulary file {path}: {column!r} holds a {type(value).__name__}; values must be scalars"
                )
    return known
