"""Tasks to draw, with code of the user's own: a network, an encoder and hooks, in modules that import others."""

import datetime as dt
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import torch
from avoided import AVOIDED
from drawn_tables import KINDS, NUMBERS, Column
from hypothesis import strategies as st
from safetensors.torch import save_file

from sparktorch_assets.tasks import (
    BatchPolicy,
    CategoricalFeature,
    ClassificationOutput,
    CustomFeature,
    Execution,
    Hooks,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
    RowFilter,
    SequenceFeature,
    TextFeature,
)

LABELS = ("no", "ja", "ü | x")
USER_MODULES = ("fuzz_maths", "fuzz_network", "fuzz_rules", "fuzz_hooks")
"""In the order in which they import each other."""
_SOURCES = {
    "fuzz_maths": """
SHIFT = {maths} / 4
""",
    # A row's answer must not depend on the batch that it is in, so sums are made one addend after the other.
    "fuzz_network": """
import torch
from fuzz_maths import SHIFT

class Net(torch.nn.Module):
    def __init__(self, groups, embeds=False):
        super().__init__()
        self.groups, self.embeds = groups, embeds
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.slope = torch.nn.Parameter(torch.zeros(3))

    def forward(self, *arguments):
        waiting, total = list(arguments), {network} / 8
        for place, group in enumerate(self.groups):
            values = waiting.pop(0).flatten(1)
            there = waiting.pop(0) if group == "ragged" else torch.ones(values.shape, dtype=torch.bool)
            if bool(((values == 13) & there).any()):
                raise ValueError("poison")
            for at in range(values.shape[1]):
                total = total + torch.where(there[:, at], values[:, at].float(), 0.0) * self.weight[place % 4]
        logits = torch.stack([total * slope + offset * SHIFT for offset, slope in enumerate(self.slope)], dim=1)
        return (logits, torch.stack([total, -total], dim=1)) if self.embeds else logits

class Encoder:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, batch):
        values = [value.as_py() for value in batch.column(0)]
        return torch.tensor([[len(repr(value is None)) * self.scale, 1.0] for value in values])
""",
    "fuzz_rules": """
def is_hit(number, every):
    return (number + {rules}) % every == 0
""",
    "fuzz_hooks": """
import pandas as pd
from fuzz_rules import is_hit

def same(row):
    return row

def same_frame(frame):
    return frame

def drops(row):
    return None if is_hit(row["id"], 5) else row

def drops_frame(frame):
    return frame[~is_hit(frame["id"], 5)]

def raises(row):
    if is_hit(row["id"], 7):
        raise ValueError(row["id"])
    return row

def raises_frame(frame):
    if is_hit(frame["id"], 7).any():
        raise ValueError("a frame")
    return frame

def adds(row):
    return row | {{"extra": str(row["id"] + {hooks}), "half": row["id"] / 2}}

def adds_frame(frame):
    return frame.assign(extra=(frame["id"] + {hooks}).astype(str), half=frame["id"] / 2)

def changes(row):
    for name, value in row.items():
        if name in {changed!r} and value is not None:
            row[name] = value * 2.0 + {hooks}
    return row

def changes_frame(frame):
    return frame.assign(**{{name: frame[name] * 2.0 + {hooks} for name in {changed!r} if name in frame}})
""",
}
VERSIONED = ("maths", "network", "rules", "hooks")


@dataclass
class Code:
    """The user's modules, as files in a folder on the search path."""

    folder: Path
    changed: tuple[str, ...]
    """Columns that the hooks `changes` change."""
    versions: dict[str, int]
    comments: int = 0

    def write(self) -> None:
        for name in USER_MODULES:
            text = _SOURCES[name].format(**self.versions, changed=self.changed) + f"# edited {self.comments} times\n"
            path = self.folder / f"{name}.py"
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    def load(self, path: str) -> Any:
        """The object that an import path names, from the files as they are now; no cache of Python's has a part in it."""
        module, _, attribute = path.partition(":")
        with _set_aside(USER_MODULES):
            for name in USER_MODULES:
                sys.modules[name] = found = ModuleType(name)
                exec((self.folder / f"{name}.py").read_text(), found.__dict__)
            return getattr(sys.modules[module], attribute)

    def behind(self, task: MlTask) -> tuple[int, ...]:
        """The versions of the code that the task can run."""
        hooked = task.hooks.preprocesses or task.hooks.postprocesses
        used = (*VERSIONED[:2], *(VERSIONED[2:] if hooked else ()))
        return tuple(self.versions[name] for name in used)


@contextmanager
def _set_aside(modules: Sequence[str]) -> Iterator[None]:
    before = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def write_weights(path: Path, seed: int, *, in_place: bool = False) -> None:
    """Weights that are exact in every precision, so that sums are alike in every order."""
    weight = torch.tensor([0.5, -0.25, 1.0, 2.0]) * (1 + seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".writing")
    save_file({"weight": weight, "slope": torch.tensor([1.0, -1.0, 0.25 * seed])}, temporary)
    if in_place:
        path.write_bytes(temporary.read_bytes())
    else:
        temporary.rename(path)


@st.composite
def features(draw: st.DrawFn, held: Sequence[Column]) -> list[Any]:
    """At least one group; each kind of group where there are columns for it."""
    by_kind = lambda *kinds: [column for column in held if column.kind in kinds]  # noqa: E731
    found: list[Any] = []
    numbers = by_kind(*NUMBERS)
    if numbers:
        named = draw(st.lists(st.sampled_from([c.name for c in numbers]), min_size=1, max_size=3, unique=True))
        found.append(NumericFeature(columns=named, fill=draw(st.none() | st.sampled_from([0.0, -1.5]))))
    for column in by_kind("bool", "int16", "string"):
        if draw(st.booleans()):
            values = draw(st.lists(KINDS[column.kind].values, min_size=1, max_size=3, unique=True))
            fill = draw(st.none() | st.sampled_from([str(values[0]), "none of them"]))
            found.append(CategoricalFeature(columns=[column.name], vocabulary={column.name: values}, fill=fill))
    for column in by_kind("string"):
        fill = draw(st.none() | st.sampled_from(["", "ü"]))
        found.append(TextFeature(column=column.name, max_tokens=draw(st.integers(1, 5)), fill=fill))
    for column in by_kind("int list", "float list"):
        dtype = "int64" if column.kind == "int list" and draw(st.booleans()) else "float32"
        fill = draw(st.none() | st.just(0.0))
        found.append(SequenceFeature(column=column.name, max_length=draw(st.integers(1, 4)), fill=fill, dtype=dtype))
    found += [draw(_images(column.name)) for column in by_kind("image")]
    if draw(st.booleans()) or not found:
        named = draw(st.sampled_from([column.name for column in held]))
        arguments = {"scale": draw(st.sampled_from([0.5, 1.0]))}
        found.append(CustomFeature(columns=[named], encoder="fuzz_network:Encoder", arguments=arguments))
    return draw(st.permutations(found))


def _images(column: str) -> st.SearchStrategy:
    return st.builds(
        ImageFeature,
        column=st.just(column),
        height=st.integers(1, 3),
        width=st.integers(1, 3),
        channels=st.sampled_from([1, 3]),
        mean=st.sampled_from([(0.0,), (0.5,)]),
        std=st.sampled_from([(1.0,), (0.25,)]),
        resample=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
        fill=st.sampled_from([None, 0.5]),
    )


def _literals(column: Column) -> st.SearchStrategy:
    """What a condition may compare the column with."""
    values = KINDS[column.kind].values.filter(lambda value: value == value)  # noqa: PLR0124  (NaN)
    if "conditions on values of another type" in AVOIDED or column.kind in ("bool", "string"):
        return values
    if pa.types.is_temporal(column.arrow):
        zone = st.just(dt.UTC) if getattr(column.arrow, "tz", None) else st.none()
        times = st.datetimes(timezones=zone) | st.dates()
        return times | times.map(lambda time: time.isoformat())
    fractions = st.sampled_from([2.5, 0.1, -0.5, 1e300, float("inf"), 2**53 + 1, -(2**70), 0, -0.0])
    return fractions | values if not pa.types.is_decimal(column.arrow) else fractions | values.map(Decimal)


@st.composite
def row_filters(draw: st.DrawFn, held: Sequence[Column], least: int = 0) -> list[RowFilter]:
    """Conditions on columns of plain types."""
    found = []
    plain = (*NUMBERS, "string")
    if "conditions on values of another type" not in AVOIDED:
        plain += ("decimal", "wide decimal", "uint64", "date", "date64", "instant", "instant ns", "local time")
    filterable = [column for column in held if column.kind in plain]
    for column in draw(st.lists(st.sampled_from(filterable), min_size=least, max_size=2)):
        operators = ["==", "!=", "in", "not in"] + (["<", "<=", ">", ">="] if column.kind != "bool" else [])
        op = draw(st.sampled_from(operators))
        values = _literals(column)
        value = draw(st.lists(values, min_size=1, max_size=3)) if "in" in op else draw(values)
        found.append(RowFilter(column=column.name, op=op, value=value))
    return found


@st.composite
def tasks(draw: st.DrawFn, held: Sequence[Column], partitioned: bool) -> MlTask:
    """Any task over these columns whose answers do not depend on batches."""
    groups = draw(features(held))
    extras = draw(st.lists(st.sampled_from(["scores", "embedding"]), unique=True))
    changeable = any(column.kind == "float64" for column in held)
    names = ["same", "drops", "raises", "adds", *(["changes"] if changeable else [])]
    hooks: dict[str, str] = {}
    for hook in draw(st.lists(st.sampled_from(["row_preprocessor", "batch_preprocessor", "row_postprocessor", "batch_postprocessor"]), unique=True, max_size=2)):  # fmt: skip
        name = draw(st.sampled_from(names))
        hooks[hook] = f"fuzz_hooks:{name}{'_frame' if hook.startswith('batch') else ''}"
    kept: list[str] | None = None
    if draw(st.booleans()):
        kept = draw(st.lists(st.sampled_from([c.name for c in held]), unique=True))
        kept += ["id"] if hooks and "id" not in kept else []
    adds = any("adds" in path for path in hooks.values())
    return MlTask(
        name="fuzzed",
        input="drawn",
        model=ModelSpec(
            weights="net.safetensors",
            architecture="fuzz_network:Net",
            arguments={
                "groups": ["ragged" if feature.kind in ("text", "sequence") else "dense" for feature in groups],
                "embeds": "embedding" in extras,
            },
        ),
        features=groups,
        labels=LABELS,
        batch=draw(
            st.builds(
                BatchPolicy,
                batch_size=st.none() | st.integers(1, 5),
                window_rows=st.integers(1, 9),
                deduplicate=st.booleans(),
            )
        ),
        execution=Execution(precision=draw(st.sampled_from(["fp32", "fp32", "bf16", "fp16", "int8-dynamic"]))),
        where=draw(row_filters(held)),
        keep_columns=kept,
        hooks=Hooks(**hooks),
        output=ClassificationOutput(scores="scores" in extras, embedding="embedding" in extras),
        hook_columns={"extra": "string", "half": "double"} if adds else {},
        output_prefix=draw(st.sampled_from(["", "m "])),
        max_failed_share=draw(st.sampled_from([1.0, 1.0, 1.0, 0.3])),
        max_dropped_share=draw(st.sampled_from([1.0, 1.0, 0.3])),
    )


def _set(value: Any) -> list[str]:
    """The literals of a condition, whose order does not matter."""
    return sorted({repr(literal) for literal in (value if isinstance(value, tuple) else (value,))})


def what_counts(task: MlTask, code: Code, weights_seed: int) -> Mapping[str, Any]:
    """Everything about a task that must score its rows anew when it changes, and nothing else."""
    return {
        "features": repr(task.features),
        "labels": task.labels,
        "where": [(test.column, test.op, _set(test.value)) for test in task.where],
        "kept": task.keep_columns,
        "hooks": repr(task.hooks),
        "outputs": repr(task.output_columns),
        "model": repr(task.model),
        "precision": task.execution.precision,
        "version": task.code_version,
        "code": code.behind(task),
        "weights": weights_seed,
    }
