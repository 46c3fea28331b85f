"""What a task says, done row by row in plain Python, pandas and torch: no batches, no shards, no files but the model's.

It shares the declarations (`tasks/`) with the library and nothing else, so that a fault of the library is not a fault of
both. Slow, and easy to read against the docs.
"""

import datetime as dt
import io
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from safetensors.torch import load_file

from sparktorch_assets.tasks import MlTask, RowFilter

Row = dict[str, Any]
Hook = Callable[[Row], Row | None]
Load = Callable[[str], Any]
"""Import path -> object, of the code as it is on disk now."""

_DAY_US = 86_400_000_000
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, wanted: value in wanted,
    "not in": lambda value, wanted: value not in wanted,
}


class Time(int):
    """A date or a time, as a number of its units since 1970: Python's own end with the year 9999."""

    unit_us: int = 1

    @property
    def is_python(self) -> bool:
        """Whether Python has such a time: a row that holds another one fails where a row hook is to see it."""
        return self * self.unit_us // _DAY_US in range(-719_162, 2_932_897)


class Day(Time):
    """A date."""

    unit_us = _DAY_US


class RowFails(Exception):  # noqa: N818  (it is a row's fate, no error)
    """This row has no prediction."""

    def __init__(self, stage: str, row: Row | None = None) -> None:
        super().__init__(stage)
        self.row = row
        """What it held before the hook that broke on it."""


@dataclass
class Outcome:
    """The table's rows, and those that are not in it."""

    rows: list[Row] = field(default_factory=list)
    """A failed row's `prediction_error` is its stage alone."""
    filtered: list[Row] = field(default_factory=list)
    dropped: list[Row] = field(default_factory=list)

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if any(name.endswith("prediction_error") and row[name] for name in row)]


def score(
    rows: Sequence[Row],
    kinds: Mapping[str, pa.DataType],
    task: MlTask,
    models_root: Path,
    load: Load,
) -> Outcome:
    """What `task` makes of `rows`, each of which has all of the input's columns, of these types."""
    outcome = Outcome()
    model = Model(task, kinds, models_root, load)
    hooks = {name: load(path) for name in _HOOKS if (path := getattr(task.hooks, name)) is not None}

    def in_a_dict(hook: Callable[[Row], Row | None], row: Row) -> Row | None:
        assert all(value.is_python for value in row.values() if isinstance(value, Time))
        return hook(dict(row))

    calls = {name: in_a_dict if name.startswith("row") else _in_a_frame for name in _HOOKS}
    hooked = {name: (lambda row, name=name: calls[name](hooks[name], row)) for name in hooks}
    for row in rows:
        if not all(holds(test, row[test.column]) for test in task.where):
            outcome.filtered.append(row)
            continue
        found = _score_one({name: row[name] for name in task.read_columns(tuple(row))}, task, model, hooked)
        if found is None:
            outcome.dropped.append(row)
        else:
            outcome.rows.append(found)
    return outcome


_HOOKS = ("row_preprocessor", "batch_preprocessor", "row_postprocessor", "batch_postprocessor")


def holds(test: RowFilter, value: Any) -> bool:
    """Whether a value passes; a null never does, and the rest is compared as what it is, exactly."""
    if value is None:
        return False
    several = isinstance(test.value, tuple)
    literals = [_like(value, literal) for literal in (test.value if several else (test.value,))]
    return _COMPARE[test.op](value, literals if several else literals[0])


def _like(value: Any, literal: Any) -> Any:
    """The literal as something that Python compares with the value."""
    if isinstance(value, Decimal) and isinstance(literal, float):
        return Decimal(repr(literal))
    if not isinstance(value, Time):
        return literal
    if isinstance(literal, str):
        literal = dt.datetime.fromisoformat(literal)
    if not isinstance(literal, dt.datetime):
        literal = dt.datetime(literal.year, literal.month, literal.day, tzinfo=dt.UTC)
    since = literal.replace(tzinfo=literal.tzinfo or dt.UTC) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return Fraction(since // dt.timedelta(microseconds=1), value.unit_us)


def _score_one(row: Row, task: MlTask, model: "Model", hooks: Mapping[str, Hook]) -> Row | None:
    """The row of the table; `None` where a hook dropped it."""
    added: Row = dict.fromkeys(column.name for column in task.output_columns)
    result = dict(row)
    try:
        seen = _hooked("preprocessor", row, hooks)
        if seen is None:
            return None
        result |= {name: value for name, value in seen.items() if name not in row}
        result |= model.predict(seen)
    except RowFails as failure:
        result |= added | {task.error_column: str(failure)}
    else:
        result = added | result
        try:
            after = _hooked("postprocessor", result, hooks)
            if after is None:
                return None
            result = added | after
        except RowFails as failure:
            result = result | (failure.row or {}) | added | {task.error_column: str(failure)}
    return {name: result[name] for name in (*task.kept_columns(tuple(row)), *added)}


def _hooked(kind: str, row: Row, hooks: Mapping[str, Hook]) -> Row | None:
    for stage in (f"row_{kind}", f"batch_{kind}"):
        if stage in hooks:
            try:
                changed = hooks[stage](row)
            except Exception as error:
                raise RowFails(stage, row) from error
            if changed is None:
                return None
            row = changed
    return row


def _in_a_frame(hook: Callable[[pd.DataFrame], pd.DataFrame], row: Row) -> Row | None:
    """A batch hook, called with one row; what it returns as it was given is not taken through pandas."""
    frame = pd.DataFrame({name: pd.Series([np.nan if value is None else value]) for name, value in row.items()})
    result = hook(frame.copy())
    if result.empty:
        return None
    found = {}
    for name in result.columns:
        value = result[name].iloc[0]
        unchanged = name in row and (value is frame[name].iloc[0] or bool(np.all(value == frame[name].iloc[0])))
        missing = np.ndim(value) == 0 and pd.isna(value)
        found[name] = row[name] if unchanged or (missing and name in row) else None if missing else _plain(value)
    return found


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


class Model:
    """The network, called with one row at a time."""

    def __init__(self, task: MlTask, kinds: Mapping[str, pa.DataType], models_root: Path, load: Load) -> None:
        self._task, self._kinds = task, kinds
        self._network = load(task.model.architecture)(**dict(task.model.arguments))
        self._network.load_state_dict(load_file(models_root / task.model.weights))
        self._floats = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(task.execution.precision, torch.float32)
        self._network.to(self._floats)  # int8-dynamic is about linear layers, and it has none
        self._encoders = [
            load(feature.encoder)(**dict(feature.arguments)) if feature.kind == "custom" else None
            for feature in task.features
        ]

    def predict(self, row: Row) -> Row:
        """The columns that the model adds.

        Raises:
            RowFails: the row cannot be encoded, or the network raises or gives no finite logits or
                embedding.
        """
        arguments = []
        for feature, encoder in zip(self._task.features, self._encoders, strict=True):
            arguments += _encode(feature, row) if encoder is None else self._custom(feature, encoder, row)
        try:
            with torch.inference_mode():
                output = self._network(*(one.to(self._floats) if one.is_floating_point() else one for one in arguments))
        except Exception as error:
            raise RowFails("forward") from error
        logits_1C, embedding = output if isinstance(output, tuple) else (output, None)
        if not torch.isfinite(logits_1C).all():
            raise RowFails("forward")
        task = self._task
        if task.output.embedding and not torch.isfinite(embedding).all():
            raise RowFails("forward")
        scores_C = torch.softmax(logits_1C[0].double(), dim=0)
        extras = {"scores": scores_C.tolist(), "embedding": None if embedding is None else embedding[0].tolist()}
        return {
            f"{task.output_prefix}predicted_class": task.labels[int(logits_1C[0].argmax())],
            f"{task.output_prefix}confidence": float(scores_C.max()),
            **{f"{task.output_prefix}{extra.name}": extras[extra.name] for extra in task.output.optional_columns},
        }

    def _custom(self, feature: Any, encoder: Callable[[Any], Any], row: Row) -> list[torch.Tensor]:
        try:
            return [
                encoder(pa.record_batch({name: pa.array([row[name]], self._kinds[name]) for name in feature.columns}))
            ]
        except Exception as error:
            raise RowFails("encode") from error


def _encode(feature: Any, row: Row) -> list[torch.Tensor]:
    if feature.kind == "numeric":
        return [torch.tensor([[_float32(_filled(row[name], feature.fill)) for name in feature.columns]])]
    if feature.kind == "categorical":
        known = dict(feature.vocabulary)
        indices = [_index(known[name], _filled(row[name], feature.fill)) for name in feature.columns]
        return [torch.tensor([indices])]
    (name,) = feature.columns
    if feature.kind == "image":
        return [_pixels(feature, row[name])]
    if feature.kind == "text":
        tokens = [byte + 1 for byte in _filled(row[name], feature.fill).encode()][: feature.max_tokens]
        return _padded(tokens, torch.int64)
    assert feature.kind == "sequence", feature
    values = _filled(row[name], None if feature.fill is None else [])
    values = [_filled(value, feature.fill) for value in values[: feature.max_length]]
    if feature.dtype == "int64":
        return _padded([int(value) for value in values], torch.int64)
    return _padded([_float32(value) for value in values], torch.float32)


def _pixels(feature: Any, encoded: bytes | None) -> torch.Tensor:
    if encoded is None:
        grey = _filled(None, feature.fill)
        levels = np.full((feature.height, feature.width, feature.channels), grey, np.float32)
    else:
        try:
            with Image.open(io.BytesIO(encoded)) as image:
                pixels = image.convert("L" if feature.channels == 1 else "RGB")
        except Exception as error:
            raise RowFails("encode") from error
        pixels = pixels.resize((feature.width, feature.height), Image.Resampling[feature.resample.upper()])
        levels = np.asarray(pixels, np.float32).reshape(feature.height, feature.width, feature.channels) / 255
    found = (levels - np.float32(feature.mean)) / np.float32(feature.std)
    return torch.from_numpy(found.transpose(2, 0, 1)[None])


def _filled(value: Any, fill: Any) -> Any:
    if value is None and fill is None:
        raise RowFails("encode")
    return fill if value is None else value


def _float32(value: Any) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(np.int64(value) if isinstance(value, int) else float(value)))


def _index(known: Sequence[Any], value: Any) -> int:
    texts = [str(entry) for entry in known]  # a fill is written as text: "True"
    return texts.index(str(value)) + 1 if str(value) in texts else 0


def _padded(values: list[Any], dtype: torch.dtype) -> list[torch.Tensor]:
    width = max(len(values), 1)
    padded = torch.tensor([values + [0] * (width - len(values))], dtype=dtype)
    return [padded, (torch.arange(width) < len(values))[None, :]]
