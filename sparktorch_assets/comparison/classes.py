"""Compares classes: how often both tasks predict the same one, and which of them is right where that is known."""

import math
from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.comparison.matched_rows import Matched
from sparktorch_assets.tasks.outputs.report import Shown, ShownTable

_SHOWN_CLASSES = 20
_EXACT = 1000
"""Up to this many rows that one task alone has right, the chance of the difference is computed exactly."""


class ClassComparison:
    """Counts of pairs of classes, and of the rows that one, both or neither has right."""

    def __init__(self, truth: str | None) -> None:
        """`truth` is the side whose table has the true classes, `champion` or `challenger`; `None` if none has."""
        self._truth = truth
        self._pairs: Counter[tuple[str | None, str | None]] = Counter()
        self._right: Counter[tuple[bool, bool]] = Counter()

    def add(self, rows: Matched) -> pa.ChunkedArray:
        """Count the rows, and return how sure both tasks are of rows on which they disagree: the lower of their
        confidences; null for other rows."""
        one, other = rows.champion["predicted_class"], rows.challenger["predicted_class"]
        counted = (
            pa.table({"champion": one, "challenger": other})
            .group_by(["champion", "challenger"])
            .aggregate([([], "count_all")])
        )
        for pair in counted.to_pylist():
            self._pairs[pair["champion"], pair["challenger"]] += pair["count_all"]
        if self._truth is not None:
            self._add_truth(one, other, getattr(rows, self._truth)["truth"])
        sure = pc.min_element_wise(
            pc.fill_null(rows.champion["confidence"], 0.0), pc.fill_null(rows.challenger["confidence"], 0.0)
        )
        return pc.if_else(
            pc.fill_null(pc.not_equal(one, other), False), pc.cast(sure, pa.float64()), pa.scalar(None, pa.float64())
        )

    def _add_truth(self, one: pa.ChunkedArray, other: pa.ChunkedArray, truth: pa.ChunkedArray) -> None:
        truth = pc.cast(truth, pa.string())
        found = pa.table(
            {side: pc.fill_null(pc.equal(values, truth), False) for side, values in (("one", one), ("other", other))}
        ).filter(pc.is_valid(truth))
        for pair in found.group_by(["one", "other"]).aggregate([([], "count_all")]).to_pylist():
            self._right[pair["one"], pair["other"]] += pair["count_all"]

    @property
    def table(self) -> pa.Table:
        """Rows per pair of classes, the most frequent first; null stands for a failed row."""
        pairs = sorted(self._pairs.items(), key=lambda item: (-item[1], str(item[0])))
        return pa.table(
            {
                "champion": pa.array([one for (one, _), _ in pairs], pa.string()),
                "challenger": pa.array([other for (_, other), _ in pairs], pa.string()),
                "rows": pa.array([rows for _, rows in pairs], pa.int64()),
            }
        )

    @property
    def figures(self) -> Mapping[str, Shown]:
        """Numbers over all rows."""
        rows = sum(self._pairs.values())
        same = sum(count for (one, other), count in self._pairs.items() if one == other and one is not None)
        differ = sum(count for (one, other), count in self._pairs.items() if None not in (one, other) and one != other)
        found: dict[str, Shown] = {"agreement": same / rows if rows else 0.0, "disagreements": differ}
        known = sum(self._right.values())
        if known:
            only_champion, only_challenger = self._right[True, False], self._right[False, True]
            found |= {
                "rows_with_truth": known,
                "champion_accuracy": (self._right[True, True] + only_champion) / known,
                "challenger_accuracy": (self._right[True, True] + only_challenger) / known,
                "only_champion_right": only_champion,
                "only_challenger_right": only_challenger,
                "mcnemar_p_value": mcnemar_p_value(only_champion, only_challenger),
            }
        return found

    @property
    def tables(self) -> Mapping[str, ShownTable]:
        """For each class of the champion, how often the challenger predicts it as well, and what it predicts instead."""
        rows = []
        of_champion: Counter[str | None] = Counter()
        for (one, _), count in self._pairs.items():
            of_champion[one] += count
        for name, count in sorted(of_champion.items(), key=lambda item: (-item[1], str(item[0])))[:_SHOWN_CLASSES]:
            others = {other: found for (one, other), found in self._pairs.items() if one == name and other != name}
            most = sorted(others.items(), key=lambda item: (-item[1], str(item[0])))[:3]
            agreed = 0 if name is None else self._pairs[name, name]
            instead = ", ".join(f"{_named(other)}: {found:,}" for other, found in most)
            rows.append((_named(name), f"{count:,}", f"{agreed / count:.2%}", instead))
        return {
            "agreement_by_class": ShownTable(columns=("champion", "rows", "agreement", "challenger instead"), rows=rows)
        }


def mcnemar_p_value(only_one: int, only_other: int) -> float:
    """How likely a difference at least as large is if both tasks are right equally often: McNemar's test (Psychometrika
    12, 1947; for classifiers: Dietterich, Neural Computation 10, 1998), exact for few rows.

    Args:
        only_one: the rows that only one of the tasks has right.
        only_other: those that only the other has right.

    >>> round(mcnemar_p_value(1, 9), 4), mcnemar_p_value(5, 5)
    (0.0215, 1.0)
    """
    decided = only_one + only_other
    if not decided:
        return 1.0
    if decided <= _EXACT:
        fewer = sum(math.comb(decided, count) for count in range(min(only_one, only_other) + 1))
        return min(1.0, float(2 * fewer / 2**decided))
    return math.erfc(math.sqrt(max(abs(only_one - only_other) - 1, 0) ** 2 / decided / 2))


def _named(class_: str | None) -> str:
    return "(failed)" if class_ is None else class_
