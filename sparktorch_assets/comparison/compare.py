"""`compare_predictions`: a challenger's prediction table against its champion's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from sparktorch_assets.audit.drift import number_bins, population_stability_index, total_variation
from sparktorch_assets.comparison.classes import ClassComparison
from sparktorch_assets.comparison.disagreements import Disagreements
from sparktorch_assets.comparison.label_sets import LabelSetComparison
from sparktorch_assets.comparison.matched_rows import Matched, Side, matched_rows
from sparktorch_assets.comparison.numbers import NumberComparison
from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import table_tally
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.outputs.report import Shown, ShownTable
from sparktorch_assets.tasks.rivals import check_rivals, truth_of

MOST_SHOWN = 12
_MOST_COLUMNS = 6
"""How many of the model's input columns a shown row has."""


class _KindComparison(Protocol):
    """Compares the predictions of one kind of output, a bucket of rows at a time."""

    def add(self, rows: Matched) -> pa.ChunkedArray: ...

    @property
    def table(self) -> pa.Table: ...

    @property
    def figures(self) -> Mapping[str, Shown]: ...

    @property
    def tables(self) -> Mapping[str, ShownTable]: ...


_KINDS: Mapping[str, Callable[[MlTask, str | None], _KindComparison]] = {
    "classification": lambda _, truth: ClassComparison(truth),
    "multilabel": lambda _, __: LabelSetComparison(),
    "regression": lambda task, truth: NumberComparison([column.name for column in task.output.main_columns], truth),
}
_COMPARED: Mapping[str, tuple[str, ...]] = {"multilabel": ("predicted_labels",)}
"""The columns that are compared, of outputs that have others as well."""
_WITH_TRUTH = frozenset({"classification", "regression"})
"""The outputs whose predictions are also held against the truth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a comparison found."""

    rows: int
    """Number of rows that both tables have."""
    only_champion: int
    """Number of rows that the challenger's table does not have."""
    only_challenger: int
    table: pa.Table
    """The comparison in detail, a few rows: pairs of classes, columns of numbers, or labels."""
    figures: Mapping[str, Shown]
    """Numbers: agreement, errors, and how far the tables as wholes lie apart."""
    tables: Mapping[str, ShownTable]
    disagreements: Sequence[Mapping[str, Any]]
    """The rows on which both disagree most, with what the tables keep of the model's input; none if one of the tasks shows
    no contents of rows (`preview_rows: 0`)."""


def compare_predictions(champion: MlTask, challenger: MlTask, champion_table: str, challenger_table: str) -> Comparison:
    """Compare the predictions of two tasks for the same rows.

    Only the compared columns are read, once, and divided into files in a temporary folder by the hash of their keys.

    Args:
        champion: the champion.
        challenger: a task with `challenger_of`.
        champion_table: path or URI of the champion's predictions.
        challenger_table: path or URI of the challenger's.

    Raises:
        TaskError: the tasks cannot be compared.
        InputSchemaError: a table lacks a column of the key.
        TableError: a table is missing, or a key is null or belongs to several rows.
    """
    check_rivals(champion, challenger)
    assert challenger.challenger_of is not None
    tables = {
        "champion": _existing(champion_table, champion),
        "challenger": _existing(challenger_table, challenger),
    }
    tasks = {"champion": champion, "challenger": challenger}
    kind = challenger.output.kind
    truth = truth_of(champion, challenger) if kind in _WITH_TRUTH else None
    truth_side = next((side for side, table in tables.items() if truth in table.schema.names), None)
    names = _COMPARED.get(kind, tuple(column.name for column in challenger.output.main_columns))
    keys = challenger.challenger_of.join_on
    sides = {
        side: Side(
            name=f"predictions/{task.name}",
            table=tables[side],
            keys=keys,
            columns={
                **{name: f"{task.output_prefix}{name}" for name in names},
                **({"truth": truth} if truth is not None and side == truth_side else {}),
            },
        )
        for side, task in tasks.items()
    }
    found = _KINDS[kind](challenger, truth_side)
    shown = 0 if 0 in (champion.preview_rows, challenger.preview_rows) else MOST_SHOWN
    disagreements = Disagreements(shown, names)
    rows = only_champion = only_challenger = 0
    for matched in matched_rows(sides["champion"], sides["challenger"]):
        rows += matched.champion.num_rows
        only_champion += matched.only_champion
        only_challenger += matched.only_challenger
        disagreements.add(matched, found.add(matched))
    return Comparison(
        rows=rows,
        only_champion=only_champion,
        only_challenger=only_challenger,
        table=found.table,
        figures={**found.figures, **drift(table_tally(tables["challenger"]), table_tally(tables["champion"]))},
        tables=found.tables,
        disagreements=disagreements.read(tables, _shown_columns(tasks, tables, truth)),
    )


def drift(challenger: Tally, champion: Tally) -> dict[str, float]:
    """How far two tables lie apart as wholes, from the sums of their receipts; only of what both have."""
    classes = sorted(champion.classes.keys() | challenger.classes.keys())
    counts = {
        "class_share": (
            [challenger.classes.get(name, 0) for name in classes],
            [champion.classes.get(name, 0) for name in classes],
        ),
        "confidence": (challenger.confidence_histogram, champion.confidence_histogram),
        **{
            name: number_bins(challenger.numbers[name], champion.numbers[name])
            for name in champion.numbers.keys() & challenger.numbers.keys()
        },
    }
    return {
        f"{name}_{measure}": float(apart(now, before))
        for name, (now, before) in counts.items()
        if sum(now) and sum(before)
        for measure, apart in (("distance", total_variation), ("psi", population_stability_index))
    }


def _existing(uri: str, task: MlTask) -> Table:
    table = Table(uri)
    if table.version is None:
        raise TableError(f"predictions/{task.name}: there is no table at {uri!r}; materialize it first")
    return table


def _shown_columns(tasks: Mapping[str, MlTask], tables: Mapping[str, Table], truth: str | None) -> dict[str, list[str]]:
    """What is read of each table to show a row: the key and, where it is kept, what the model saw and the truth."""
    challenge = tasks["challenger"].challenger_of
    assert challenge is not None
    features = tasks["challenger"].feature_columns[:_MOST_COLUMNS]
    wanted = list(dict.fromkeys([*features, *([truth] if truth else []), *challenge.join_on]))
    of_champion = [name for name in wanted if name in tables["champion"].schema.names]
    of_challenger = [name for name in wanted if name in tables["challenger"].schema.names and name not in of_champion]
    return {"champion": of_champion, "challenger": of_challenger}
