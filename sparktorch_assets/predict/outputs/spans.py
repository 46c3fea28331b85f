"""Tokens become words, and these become spans, as transformers' `TokenClassificationPipeline` defines it; for all rows
of a batch at once.

Shapes: T tokens of all rows, one after the other; C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparktorch_assets.tasks.outputs.token_classification import without_prefix


@dataclass(frozen=True, kw_only=True, slots=True)
class Spans:
    """Tokens, words or spans, in the order of rows and of their texts."""

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    """Indices of the labels."""
    scores: npt.NDArray[np.floating[Any]]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def take(self, chosen: npt.NDArray[Any]) -> "Spans":
        """Those at these places, or those marked."""
        return Spans(
            rows=self.rows[chosen],
            labels=self.labels[chosen],
            scores=self.scores[chosen],
            starts=self.starts[chosen],
            ends=self.ends[chosen],
        )

    def joined(
        self, firsts: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating[Any]]
    ) -> "Spans":
        """Neighbours as one, from each of `firsts` to the next, with their common labels and scores."""
        lasts = np.append(firsts[1:], len(self.rows)) - 1
        return Spans(
            rows=self.rows[firsts], labels=labels, scores=scores, starts=self.starts[firsts], ends=self.ends[lasts]
        )


def words_of(
    tokens: Spans, continues_T: npt.NDArray[np.bool_], aggregation: str, scores_TC: npt.NDArray[np.float32] | None
) -> Spans:
    """The tokens of each word as one.

    Args:
        tokens: the tokens.
        continues_T: whether a token belongs to the same word as the one before it.
        aggregation: which label and score a word has: those of its `first` token; those of the token with the highest
            score (`max`); or the best of the mean of its tokens' scores (`average`).
        scores_TC: for `average`, the scores of all labels.
    """
    firsts = np.flatnonzero(~continues_T | _changes(tokens.rows))
    if not len(firsts):
        return tokens
    labels, scores = tokens.labels[firsts], tokens.scores[firsts]
    if aggregation == "max":
        words = np.cumsum(np.isin(np.arange(len(tokens.rows)), firsts)) - 1
        surest = np.flatnonzero(tokens.scores == np.maximum.reduceat(tokens.scores, firsts)[words])
        _, first = np.unique(words[surest], return_index=True)
        labels, scores = tokens.labels[surest[first]], tokens.scores[surest[first]]
    elif scores_TC is not None:
        mean_WC = np.add.reduceat(scores_TC, firsts, axis=0) / _sizes(firsts, len(tokens.rows))[:, None]
        labels, scores = mean_WC.argmax(axis=1), mean_WC.max(axis=1)
    return tokens.joined(firsts, labels, scores)


class Entities:
    """Joins neighbours with the same entity.

    Args:
        labels: the task's labels, some with `B-` or `I-` before the entity.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        prefixed = [label[:2] in ("B-", "I-") for label in labels]
        self._begins = np.array([label.startswith("B-") for label in labels])
        tags = [label[2:] if has else label for label, has in zip(labels, prefixed, strict=True)]
        self._tags = np.unique(tags, return_inverse=True)[1]
        shown = [without_prefix(label) for label in labels]
        self.names = tuple(dict.fromkeys(shown))
        """The labels of entities."""
        self._shown = np.array([self.names.index(name) for name in shown])

    def joined(self, words: Spans) -> Spans:
        """The entities, whose labels are indices of `names`; their scores are means."""
        tags = self._tags[words.labels]
        firsts = np.flatnonzero(_changes(words.rows) | _changes(tags) | self._begins[words.labels])
        if not len(firsts):
            return words
        means = np.add.reduceat(words.scores.astype(np.float64), firsts) / _sizes(firsts, len(words.rows))
        return words.joined(firsts, self._shown[words.labels[firsts]], means)


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each value differs from the one before it; true for the first."""
    found = np.ones(len(values), dtype=bool)
    found[1:] = values[1:] != values[:-1]
    return found


def _sizes(firsts: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    return np.diff(np.append(firsts, total))
