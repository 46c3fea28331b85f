"""Compares sets of labels: how often both tasks predict the same set, and how much of two sets is in both."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.comparison.matched_rows import Matched
from sparktorch_assets.tasks.outputs.report import Shown, ShownTable

_SHOWN_LABELS = 20


class LabelSetComparison:
    """Exact matches, Jaccard's index of the sets, and for each label the rows to which both or one of the tasks gives it."""

    def __init__(self) -> None:
        self._rows = self._predicted = self._same = 0
        self._overlap = 0.0
        self._both: Counter[str] = Counter()
        self._only: dict[str, Counter[str]] = {"champion": Counter(), "challenger": Counter()}

    def add(self, rows: Matched) -> pa.ChunkedArray:
        """Count the rows, and return the share of labels that only one of the tasks gives to a row (Jaccard's distance);
        null if they agree, and for rows that failed in one of the tables."""
        one, other = (side["predicted_labels"].combine_chunks() for side in (rows.champion, rows.challenger))
        usable = np.asarray(pc.and_(pc.is_valid(one), pc.is_valid(other)))
        pairs = [
            pa.table(
                {
                    "row": pc.list_parent_indices(found),
                    "label": pc.list_flatten(found),
                    side: pa.array([True] * len(pc.list_flatten(found)), pa.bool_()),
                }
            )
            for side, found in (("champion", one), ("challenger", other))
        ]
        joined = pairs[0].join(pairs[1], ["row", "label"], join_type="full outer", use_threads=False)
        joined = joined.filter(pc.take(pa.array(usable), joined["row"]))
        both = pc.fill_null(pc.and_(joined["champion"], joined["challenger"]), False)
        row = np.asarray(joined["row"])
        union = np.bincount(row, minlength=len(usable))
        shared = np.bincount(row[np.asarray(both)], minlength=len(usable))
        overlap = np.where(union == 0, 1.0, shared / np.maximum(union, 1))
        self._rows += len(usable)
        self._predicted += int(usable.sum())
        self._same += int((overlap[usable] == 1).sum())
        self._overlap += float(overlap[usable].sum())
        self._count_labels(joined, both)
        return pa.chunked_array([pa.array(1 - overlap, mask=~usable | (overlap == 1))])

    def _count_labels(self, joined: pa.Table, both: pa.ChunkedArray) -> None:
        kinds = (
            (self._both, both),
            (self._only["champion"], pc.is_null(joined["challenger"])),
            (self._only["challenger"], pc.is_null(joined["champion"])),
        )
        for counts, chosen in kinds:
            for found in pc.value_counts(joined["label"].filter(chosen)).to_pylist():
                counts[found["values"]] += found["counts"]

    @property
    def _labels(self) -> list[tuple[str, int, int, int]]:
        names = self._both.keys() | self._only["champion"].keys() | self._only["challenger"].keys()
        rows = [
            (name, self._both[name], self._only["champion"][name], self._only["challenger"][name]) for name in names
        ]
        return sorted(rows, key=lambda row: (-sum(row[1:]), row[0]))

    @property
    def table(self) -> pa.Table:
        """One row per label, the most frequent first."""
        heads = ("label", "both", "only_champion", "only_challenger")
        columns = zip(*self._labels, strict=True) if self._labels else ([], [], [], [])
        kinds = (pa.string(), pa.int64(), pa.int64(), pa.int64())
        return pa.table(
            {name: pa.array(list(found), kind) for name, found, kind in zip(heads, columns, kinds, strict=True)}
        )

    @property
    def figures(self) -> Mapping[str, Shown]:
        """Numbers over all rows. A failed row agrees with nothing; the mean overlap is that of the other rows."""
        return {
            "agreement": self._same / self._rows if self._rows else 0.0,
            "mean_overlap": self._overlap / self._predicted if self._predicted else 0.0,
            "disagreements": self._predicted - self._same,
        }

    @property
    def tables(self) -> Mapping[str, ShownTable]:
        """The rows that have a label in both tables, or in one of them."""
        rows = [(name, *(f"{count:,}" for count in counts)) for name, *counts in self._labels[:_SHOWN_LABELS]]
        return {
            "agreement_by_label": ShownTable(columns=("label", "both", "only champion", "only challenger"), rows=rows)
        }
