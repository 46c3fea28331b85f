"""Labelled spans of a text: named entities, parts of speech."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.labelled_entries import LabelledEntries
from sparktorch_assets.tasks.validation import names

_IGNORED = ("O",)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenClassificationOutput(LabelledEntries):
    """Labelled spans of a text, from logits (B, T, C) over the task's `labels`: `spans`, in the order of the text, each
    with `label`, `score`, `start` and `end` (in Unicode characters of the column's text, the end excluded), and `text`.

    The options mean what they mean in transformers' `TokenClassificationPipeline`.
    """

    aggregation: Literal["none", "simple", "first", "average", "max"] = "none"
    """How tokens become spans. `none`: each token is one. `simple`: neighbours with the same entity are joined; `B-`
    begins a new one; prefixes are left out of the label; the score is the mean. `first`, `average` and `max`: the same,
    but all tokens of a word get the label of its first token, of the mean of their scores, or of the token that is the
    surest."""
    ignore_labels: Sequence[str] = _IGNORED
    """Spans with these labels (without a prefix, unless `aggregation` is `none`) are left out."""
    kind: Literal["token_classification"] = "token_classification"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""

    refers_to: ClassVar[str | None] = "text"
    """The kind of the feature that the places in the predictions refer to."""
    entry: ClassVar[str] = "span"
    entries: ClassVar[str] = "spans"
    misplaced: ClassVar[str] = "spans that do not fit their text"
    place_check: ClassVar[str] = "spans_fit_text"
    place_rule: ClassVar[str] = "Every span has as many characters as lie between its start and its end"

    def __post_init__(self) -> None:
        check_fields(self)
        names(self.ignore_labels, "TokenClassificationOutput.ignore_labels", empty=True)

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise TaskError if the options do not fit the labels."""
        known = self._all_labels(labels)
        for label in self.ignore_labels:
            if label not in (*known, *_IGNORED):
                raise TaskError(f"TokenClassificationOutput.ignore_labels names {label!r}; {nearest(label, known)}")

    def entry_labels(self, labels: Sequence[str]) -> tuple[str, ...]:
        """The task's labels, without their prefixes if tokens are aggregated, except those that are ignored."""
        return tuple(label for label in self._all_labels(labels) if label not in self.ignore_labels)

    def _all_labels(self, labels: Sequence[str]) -> tuple[str, ...]:
        if self.aggregation == "none":
            return tuple(labels)
        return tuple(dict.fromkeys(without_prefix(label) for label in labels))

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        return (
            OutputColumn(
                name="spans", type="list<struct<label: string, score: float, start: int, end: int, text: string>>"
            ),
        )

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions in addition to the columns and the labels."""
        return {"kind": self.kind, "aggregation": self.aggregation, "ignore_labels": self.ignore_labels}

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: a model object returns finished values."""
        return (
            *(("aggregation",) if self.aggregation != "none" else ()),
            *(("ignore_labels",) if tuple(self.ignore_labels) != _IGNORED else ()),
        )

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return {
            "spans": "The labelled spans of the text, with start and end in characters of it; null where the row failed"
        }


def without_prefix(label: str) -> str:
    """The entity that a label of a token stands for, as transformers takes it.

    >>> without_prefix("B-PER"), without_prefix("O")
    ('PER', 'O')
    """
    return label.split("-", 1)[-1]
