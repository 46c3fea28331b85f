"""How a table's columns become a model's inputs, declared without touching torch.

Each feature group gives the model's `forward` one argument (text, sequences and audio give two, the second a mask): by name
if the group names it, else by position, in the order of declaration.
Shapes: B rows per batch, F numeric columns, K categorical columns, T tokens, C channels, H height, W width.

A null is replaced by the group's `fill`. If that is `None`, the row fails, and the output says why.
"""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.masking import has_password, without_secrets
from sparktorch_assets.tasks.code.import_path import check_import_path
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import freeze, names, positive, share

BYTES_TOKENIZER = "bytes"

TEXT_PLACE = "{text}"
"""Stands for the text in a template."""

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
"""The rates that recordings and networks may have, in samples per second."""

MAX_SECONDS = 7_200.0
"""Two hours, which take 460 MB at 16,000 samples per second."""

ADDED: Mapping[str, Any] = {"added": True}
"""The metadata of fields that were added later. While they have their default, digests leave them out, so that
declarations without them keep the part names that they had before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericFeature:
    """Numbers, booleans and dates' parts as one float tensor: `x_BF` float32."""

    columns: Sequence[str]
    """The columns, in the order in which the model was trained."""
    fill: float | None = None
    """Stands in for a null. `None`: a row with a null fails."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["numeric"] = "numeric"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names(self.columns, "NumericFeature.columns")


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalFeature:
    """Categories as vocabulary indices: `c_BK` int64; 0 stands for any value outside the vocabulary, entry i for i +
    1."""

    columns: Sequence[str]
    """The columns, in the order in which the model was trained."""
    vocabulary: str | PurePath | Mapping[str, Sequence[Any]] | Sequence[tuple[str, Sequence[Any]]]
    """The known values of each column, or the path (under the models root) of a JSON file with that mapping."""
    fill: str | None = None
    """Replaces a null; a fill that is not a known value gives index 0. `None`: a row with a null fails."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["categorical"] = "categorical"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names(self.columns, "CategoricalFeature.columns")
        if isinstance(self.vocabulary, str | PurePath):
            return
        frozen = freeze(self.vocabulary, "CategoricalFeature.vocabulary")
        object.__setattr__(self, "vocabulary", frozen)
        missing = sorted(set(self.columns) - {column for column, _ in frozen})
        if missing:
            raise TaskError(
                f"CategoricalFeature.vocabulary has no values for {', '.join(missing)}, which CategoricalFeature.columns names; "
                f"add a list for each"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFeature:
    """Text as padded tokens: `token_ids_BT` int64 and `mask_BT` bool (True = a real token), and `type_ids_BT` int64 if
    `type_ids` asks for them."""

    column: str
    """The column of texts."""
    tokenizer: str | PurePath = BYTES_TOKENIZER
    """`bytes` (UTF-8 byte + 1), or the path (under the models root) of a `tokenizers` JSON file."""
    max_tokens: int = 256
    """Longer texts are cut to this many tokens."""
    fill: str | None = None
    """Stands in for a null. `None`: a row with a null fails."""
    pair: str | None = field(default=None, metadata=ADDED)
    """A column of second texts, such as the passages of a cross-encoder. The tokenizer's file says how two are joined, and
    a Hugging Face folder whether the network gets their type ids."""
    template: str | None = field(default=None, metadata=ADDED)
    """What is tokenized instead of a text of `column`, with `{text}` in its place: `query: {text}`."""
    truncation_side: Literal["right", "left"] = field(default="right", metadata=ADDED)
    """The side on which longer texts are cut; `left` keeps their last tokens."""
    padding_id: int | None = field(default=None, metadata=ADDED)
    """The token that fills shorter rows up. `None`: the one in the tokenizer file's `padding` if it has that, else 0."""
    type_ids: bool = field(default=False, metadata=ADDED)
    """Give `forward` a third argument, after the mask: the tokenizer's type ids, 0 for the first text of a pair and 1
    for the second."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tokens. `None`: by position, in the order of the groups."""
    mask_argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the mask. `None`: by position, after the tokens."""
    type_ids_argument: str | None = field(default=None, metadata=ADDED)
    """With `type_ids`, the name under which `forward` gets them. `None`: by position, after the mask."""
    kind: Literal["text"] = "text"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names(self.columns, "TextFeature.column and pair")
        positive(self.max_tokens, "TextFeature.max_tokens")
        if self.template is not None and self.template.count(TEXT_PLACE) != 1:
            raise TaskError(f"TextFeature.template={self.template!r} must hold {TEXT_PLACE} once, in the text's place")
        if self.padding_id is not None and self.padding_id < 0:
            raise TaskError(f"TextFeature.padding_id={self.padding_id} must not be below 0")

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of texts, and that of second texts if there is one."""
        return (self.column,) if self.pair is None else (self.column, self.pair)


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceFeature:
    """One list of numbers per row (a series, a history, token ids) as padded values: `values_BT`, 0 where padded, and
    `mask_BT` bool (True = a real value)."""

    column: str
    """The column of lists of numbers."""
    dtype: Literal["float32", "int64"] = "float32"
    """The dtype of the values; `int64` for ids that an embedding looks up."""
    max_length: int = 256
    """Longer sequences are cut to this many values."""
    fill: float | None = None
    """Replaces a null value; a null sequence becomes an empty one. `None`: a row with either fails."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the values. `None`: by position, in the order of the groups."""
    mask_argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the mask. `None`: by position, after the values."""
    kind: Literal["sequence"] = "sequence"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names((self.column,), "SequenceFeature.column")
        positive(self.max_length, "SequenceFeature.max_length")
        _check_fill(self)

    @property
    def columns(self) -> tuple[str, ...]:
        """The single column, as a tuple like every other group's."""
        return (self.column,)


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorFeature:
    """One list of numbers per row, all of the same length, or one Spark ML vector, as a tensor of one shape:
    `x_B...`."""

    column: str
    """The column of lists, of lists nested as deep as the shape, or of Spark ML vectors (`VectorUDT`)."""
    shape: Sequence[int]
    """The shape of one row's tensor. A list or vector that is not nested holds its values row by row."""
    dtype: Literal["float32", "float64", "int64", "bool"] = "float32"
    """The dtype of the tensor. Values that it cannot represent (fractions as int64, other numbers than 0 and 1 as bool)
    fail their row."""
    fill: float | None = None
    """Replaces a null value, and every value of a null row. `None`: a row with a null fails."""
    argument: str | None = None
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["tensor"] = "tensor"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names((self.column,), "TensorFeature.column")
        if not self.shape:
            raise TaskError("TensorFeature.shape is empty; give the length of a row's list, such as [768]")
        for size in self.shape:
            positive(size, "TensorFeature.shape")
        _check_fill(self)

    @property
    def columns(self) -> tuple[str, ...]:
        """The single column, as a tuple like every other group's."""
        return (self.column,)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFeature:
    """Encoded images (PNG, JPEG, WebP, TIFF ...) as `x_BCHW` float32, `(pixel / 255 - mean) / std`."""

    column: str
    """The column of image files: their bytes, or their paths or URIs, as `read` says."""
    height: int | None = None
    """The height in pixels that the network expects; an image of another size is resized. Required with `width`, unless
    the model is a Hugging Face folder that says both."""
    width: int | None = None
    """The width in pixels."""
    channels: Literal[1, 3] = 3
    """1: images are converted to grey. 3: to red, green and blue."""
    mean: Sequence[float] = (0.0,)
    """What is subtracted from `pixel / 255`: one value per channel, or one for all."""
    std: Sequence[float] = (1.0,)
    """What the difference is divided by: one value per channel, or one for all."""
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """Pillow's resampling filter, used if an image has another size."""
    fill: float | None = None
    """A grey level in [0, 1] that replaces a null. `None`: a row with a null fails."""
    shortest_side: int | None = field(default=None, metadata=ADDED)
    """Resize an image until its shorter side has this many pixels, which keeps its proportions, and cut `height` x
    `width` out of its centre. `None`: it is resized to `height` x `width`, whatever its proportions are."""
    crop_offset: Literal["nearest", "down"] = field(default="nearest", metadata=ADDED)
    """With `shortest_side`, how half a pixel is rounded if the crop cannot lie exactly in the middle: `nearest`, to the
    even number, as torchvision does; `down`, as transformers does."""
    exif_orientation: bool = field(default=False, metadata=ADDED)
    """Turn photos as the camera's EXIF orientation says, before they are resized."""
    background: float | None = field(default=None, metadata=ADDED)
    """A grey level in [0, 1] on which images with transparent parts are laid. `None`: transparency is ignored."""
    read: Literal["bytes", "uri"] = field(default="bytes", metadata=ADDED)
    """What the column holds: the `bytes` of files, or with `uri` their paths or URIs, which are read through
    `pyarrow.fs`."""
    folder: str | None = field(default=None, metadata=ADDED)
    """With `read: uri`, the folder of relative paths: an absolute path or a URI. `None`: relative paths fail their
    row."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["image"] = "image"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names((self.column,), "ImageFeature.column")
        if (self.height is None) != (self.width is None):
            raise TaskError("ImageFeature: one of height and width is given without the other; give both")
        if self.height is None and self.shortest_side is not None:
            raise TaskError("ImageFeature.shortest_side is given, but not what is cut out; give height and width, too")
        for name in ("height", "width"):
            if getattr(self, name) is not None:
                positive(getattr(self, name), f"ImageFeature.{name}")
        share(self.fill, "ImageFeature.fill")
        share(self.background, "ImageFeature.background")
        _check_folder(self)
        largest = max(self.height or 0, self.width or 0)
        if self.shortest_side is not None and self.shortest_side < largest:
            raise TaskError(
                f"ImageFeature.shortest_side={self.shortest_side} is too small for {self.height} x {self.width} pixels "
                f"to be cut out; give at least {largest}"
            )
        for name in ("mean", "std"):
            value = tuple(float(part) for part in getattr(self, name))
            if len(value) not in (1, self.channels):
                raise TaskError(
                    f"ImageFeature.{name} has {len(value)} values; give 1 or {self.channels}, one per channel"
                )
            if not all(map(math.isfinite, value)):
                raise TaskError(f"ImageFeature.{name}={value}; every value must be finite")
            object.__setattr__(self, name, value)
        if any(part <= 0 for part in self.std):
            raise TaskError(f"ImageFeature.std={tuple(self.std)}; every value must be above 0")

    @property
    def columns(self) -> tuple[str, ...]:
        """The single column, as a tuple like every other group's."""
        return (self.column,)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width; for a feature that names them, or has been completed by the model's folder."""
        assert self.height is not None, "checked by MlTask, or completed"
        assert self.width is not None, "as the height"
        return self.height, self.width


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioFeature:
    """Recordings (WAV, FLAC, OGG, MP3) as padded waveforms: `values_BT` float32, 0 where padded, and `mask_BT` bool
    (True = a real sample). Channels are averaged."""

    column: str
    """The column of audio files: their bytes, or their paths or URIs, as `read` says."""
    sample_rate: int | None = None
    """Samples per second that the network expects; a recording with another rate is resampled. `None`: the rate that
    the model's Hugging Face folder names."""
    max_seconds: float = 30.0
    """Longer recordings are cut to this many seconds."""
    normalize: bool | None = None
    """Give each recording mean 0 and variance 1, after it was cut. `None`: as the model's Hugging Face folder says; for
    other models, recordings are left as they are."""
    fill: float | None = None
    """Replaces a null by this many seconds of silence. `None`: a row with a null fails."""
    read: Literal["bytes", "uri"] = "bytes"
    """What the column holds: the `bytes` of files, or with `uri` their paths or URIs, which are read through
    `pyarrow.fs`."""
    folder: str | None = None
    """With `read: uri`, the folder of relative paths: an absolute path or a URI. `None`: relative paths fail their
    row."""
    argument: str | None = None
    """The name under which `forward` gets the waveforms. `None`: by position, in the order of the groups."""
    mask_argument: str | None = None
    """The name under which `forward` gets the mask. `None`: by position, after the waveforms."""
    kind: Literal["audio"] = "audio"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names((self.column,), "AudioFeature.column")
        if self.sample_rate is not None and not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise TaskError(
                f"AudioFeature.sample_rate={self.sample_rate} must lie between {MIN_SAMPLE_RATE} and {MAX_SAMPLE_RATE}, "
                f"in samples per second, such as 16000"
            )
        if not 0 < self.max_seconds <= MAX_SECONDS:
            raise TaskError(f"AudioFeature.max_seconds={self.max_seconds} must be above 0 and at most {MAX_SECONDS}")
        if self.fill is not None and not 0 < self.fill <= self.max_seconds:
            raise TaskError(
                f"AudioFeature.fill={self.fill} must be above 0 and at most max_seconds={self.max_seconds}: it is the "
                f"length of the silence that replaces a null, in seconds"
            )
        _check_folder(self)
        if importlib.util.find_spec("soundfile") is None:
            raise TaskError(
                f"AudioFeature.column={self.column!r}: recordings are decoded by the package soundfile, which is not "
                f"installed here; run pip install 'sparktorch-assets[audio]', here and on every worker"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The single column, as a tuple like every other group's."""
        return (self.column,)


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomFeature:
    """Tensors that a user's encoder makes of some columns.

    `encoder` names a callable that, given `arguments` as keywords, returns the encoder: a callable from a
    `pyarrow.RecordBatch` of `columns` (B rows) to one tensor or a tuple of tensors, each with B as first dimension;
    with `sequences`, to a `pyarrow.ListArray` of B lists of numbers.
    """

    columns: Sequence[str]
    """The columns that the encoder gets."""
    encoder: str
    """Import path, `package.module:Class`."""
    arguments: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()
    """Keyword arguments of the encoder."""
    sequences: bool = False
    """The encoder returns sequences of different lengths: `forward` gets `values_BT` (int64 for integers, else float32)
    and `mask_BT`, as for a `SequenceFeature`, and rows of similar length are batched together."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the encoder's tensor, or the values of its sequences. `None`: by position, in
    the order of the groups."""
    mask_argument: str | None = field(default=None, metadata=ADDED)
    """With `sequences`, the name under which `forward` gets the mask. `None`: by position, after the values."""
    kind: Literal["custom"] = "custom"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_arguments(self)
        names(self.columns, "CustomFeature.columns")
        check_import_path(self.encoder, "CustomFeature.encoder")
        object.__setattr__(self, "arguments", freeze(self.arguments, "CustomFeature.arguments"))


Feature = (
    NumericFeature
    | CategoricalFeature
    | TextFeature
    | SequenceFeature
    | TensorFeature
    | ImageFeature
    | AudioFeature
    | CustomFeature
)


def has_lengths(feature: Feature) -> bool:
    """Whether rows of this group differ in length."""
    return feature.kind in ("text", "sequence", "audio") or (feature.kind == "custom" and feature.sequences)


def argument_names(feature: Feature) -> tuple[str | None, ...]:
    """The names under which `forward` gets the tensors of this group, in their order; `None` for one that it gets by
    position, as it gets any further tensors of a custom encoder."""
    if isinstance(feature, TextFeature | SequenceFeature | AudioFeature | CustomFeature) and has_lengths(feature):
        of_types = (feature.type_ids_argument,) if isinstance(feature, TextFeature) and feature.type_ids else ()
        return feature.argument, feature.mask_argument, *of_types
    return (feature.argument,)


def _check_arguments(feature: Feature) -> None:
    kind, given = type(feature).__name__, argument_names(feature)
    fields = ("argument", "mask_argument", "type_ids_argument")
    for field_name, name in zip(fields, given, strict=False):
        if name is not None and not name.isidentifier():
            raise TaskError(
                f"{kind}.{field_name}={name!r} cannot be the name of an argument; use letters, digits and _"
            )
    if isinstance(feature, CustomFeature) and feature.mask_argument is not None and not feature.sequences:
        raise TaskError(
            "CustomFeature.mask_argument is set, but only sequences have a mask; set sequences: true, or leave it out"
        )
    if isinstance(feature, TextFeature) and feature.type_ids_argument is not None and not feature.type_ids:
        raise TaskError("TextFeature.type_ids_argument is set, but not type_ids; set type_ids: true, or leave it out")
    for before, after, field_name in zip(given, given[1:], fields[1:], strict=False):
        if before is not None and after is None:
            raise TaskError(
                f"{kind}: the argument {before!r} is given by name, but the one after it is not, and would take the "
                f"place of another one; set {field_name}, too"
            )


def _check_fill(feature: SequenceFeature | TensorFeature) -> None:
    kind, fill = type(feature).__name__, feature.fill
    if fill is None:
        return
    if feature.dtype == "int64" and not (-(2**63) <= fill < 2**63 and fill == int(fill)):
        raise TaskError(f"{kind}.fill={fill!r} is not an int64 ({kind}.dtype); give a whole number")
    if feature.dtype == "bool" and fill not in (0, 1):
        raise TaskError(f"{kind}.fill={fill!r} is not a bool ({kind}.dtype); give 0 or 1")


def _check_folder(feature: ImageFeature | AudioFeature) -> None:
    kind, folder = type(feature).__name__, feature.folder
    if folder is None:
        return
    if feature.read != "uri":
        raise TaskError(
            f"{kind}.folder is set, but the column holds the files themselves; set read: uri, or leave folder out"
        )
    if has_password(folder):
        raise TaskError(
            f"{kind}.folder={without_secrets(folder)!r} contains a password, and declarations are shown in logs and on "
            f"asset pages. Leave it out, and set the store's own environment variables or profile instead"
        )
    if not folder.startswith("/") and "://" not in folder:
        raise TaskError(
            f"{kind}.folder={folder!r} depends on the directory in which a worker runs; give an absolute path, or a URI "
            f"such as s3://bucket/photos"
        )


def feature_files(feature: Feature) -> tuple[str, ...]:
    """The files under the models root that a feature group reads. They are part of the model's digest."""
    if isinstance(feature, CategoricalFeature) and isinstance(feature.vocabulary, str):
        return (feature.vocabulary,)
    if isinstance(feature, TextFeature) and feature.tokenizer != BYTES_TOKENIZER:
        return (str(feature.tokenizer),)
    return ()
