"""Stand-ins for the rooms below: they record their calls and write real, small Delta tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from deltalake import write_deltalake

from sparktorch_assets.errors import PartitionsRefusedError, SparktorchError
from sparktorch_assets.predict.loader import ModelDescription
from sparktorch_assets.spark.score.report.report import Progress, ScoreReport
from sparktorch_assets.spark.score.report.scoring import Scoring
from sparktorch_assets.stores.model_store import ModelStore
from sparktorch_assets.tally import CONFIDENCE_BINS, Tally
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature
from sparktorch_assets.tasks.partitions import TablePartition

LABELS = ("no", "yes")


def a_task(**changes: Any) -> MlTask:
    """A small valid task over the table `events`."""
    fields: dict[str, Any] = {
        "name": "sample",
        "input": "events",
        "model": ModelSpec(
            weights="sample/model.safetensors", architecture="sparktorch_assets.samples.digits:DigitNet"
        ),
        "features": [NumericFeature(columns=["a", "b"])],
        "labels": LABELS,
        "keep_columns": ["event_id"],
        "max_failed_share": 0.2,
    }
    return MlTask(**{**fields, **changes})


def a_tally() -> Tally:
    """Of a table with 10 input rows: 1 filtered out, 1 dropped, 1 failed, 7 predicted."""
    histogram = [0] * CONFIDENCE_BINS
    histogram[-1], histogram[10] = 4, 3
    return Tally(
        rows=9,
        filtered=1,
        predicted=7,
        failed=1,
        dropped=1,
        classes={"no": 5, "yes": 2},
        confidence_sum=5.6,
        confidence_histogram=histogram,
        reasons={"encode: null": 1},
        seconds={"forward": 0.5},
        devices={"cpu": 9},
    )


SCORING = Scoring(
    rows=4, seconds={"score": 2.0}, worker_seconds={"forward": 0.5}, slots=2, balance=1.1, run_id="r", at=1e9
)


@dataclass
class FakeScoreTable:
    """Takes the place of `score_table`: writes 8 rows, reports a tally that a test may change."""

    tally: Tally = field(default_factory=a_tally)
    rows_in: int = 10
    data_version: str = "v1"
    error: SparktorchError | None = None
    nothing_changed: bool = False
    scoring: Scoring | None = SCORING
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(
        self,
        spark_session: Callable[[], Any],
        input_table: str,
        task: MlTask,
        *,
        output_table: str,
        on_progress: Any,
        **given: Any,
    ) -> ScoreReport:
        self.calls.append(
            {
                "spark_session": spark_session,
                "input_table": input_table,
                "task": task,
                "output_table": output_table,
                **given,
            }
        )
        if self.error is not None:
            raise self.error
        on_progress(Progress(rows_done=5, rows_total=10, rows_per_s=5.0, eta_s=1.0))
        write_deltalake(output_table, self.table(task), mode="overwrite")
        return self.report(task, output_table)

    def report(self, task: MlTask, output_table: str) -> ScoreReport:
        """What is told of the table."""
        report = ScoreReport(
            task=task.name,
            table=output_table,
            version=3,
            changed=True,
            shards_new=1,
            shards_unchanged=2,
            shards_removed=0,
            shards_resumed=0,
            rows_in=self.rows_in,
            rows_table=8,
            rows_new=4,
            tally=self.tally,
            run_tally=Tally(rows=3),
            seconds={"plan": 0.1, "score": 2.0, "total": 2.5},
            slots=2,
            balance=1.1,
            scoring=self.scoring,
            model_digest="d" * 64,
            data_version=self.data_version,
        )
        if not self.nothing_changed:
            return report
        return replace(
            report, changed=False, rows_new=0, run_tally=Tally(), seconds={"plan": 0.1}, slots=0, balance=None
        )

    def table(self, task: MlTask) -> pa.Table:
        """Seven predicted rows and a failed one."""
        return pa.table(
            {
                "event_id": pa.array(range(8), pa.int64()),
                f"{task.output_prefix}predicted_class": pa.array(["no"] * 5 + ["yes"] * 2 + [None]),
                f"{task.output_prefix}confidence": pa.array([0.8] * 7 + [None], pa.float32()),
                task.error_column: pa.array([None] * 7 + ["encode: null"]),
            }
        )


@dataclass
class FakeScorePartitions:
    """Takes the place of `score_partitions`: writes 8 rows into each partition that is not refused."""

    refused: dict[str, SparktorchError] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """Data versions of partitions, instead of `v <key>`."""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(
        self,
        spark_session: Callable[[], Any],
        input_table: str,
        task: MlTask,
        *,
        output_table: str,
        partitions: Sequence[TablePartition],
        **given: Any,
    ) -> tuple[ScoreReport, ...]:
        self.calls.append({"input_table": input_table, "partitions": partitions, **given})
        reports = []
        for partition in partitions:
            if partition.key in self.refused:
                continue
            whole = FakeScoreTable(data_version=self.versions.get(partition.key, f"v {partition.key}"))
            rows = whole.table(task).append_column(partition.column, pa.array([partition.value] * 8))
            write_deltalake(
                output_table,
                rows,
                mode="overwrite",
                partition_by=[partition.column],
                predicate=f"{partition.column} = '{partition.value}'",
            )
            report = whole.report(task, output_table)
            reports.append(replace(report, partition=((partition.column, partition.value),)))
        if self.refused:
            raise PartitionsRefusedError("refused", refused=self.refused, published=reports)
        return tuple(reports)


class FakeLoader:
    """A model loader that describes a model without loading one, and counts how often it is asked."""

    described: int = 0

    def __init__(self, models_root: Path, tasks: Any = (), device: str = "auto") -> None:
        self.models_root = Path(models_root)
        self.store = ModelStore(root=str(models_root))
        self.device = device

    def settled(self, task: MlTask) -> tuple["FakeLoader", MlTask]:
        return self, task

    def describe(self, task: MlTask) -> ModelDescription:
        FakeLoader.described += 1
        return ModelDescription(digest="w" * 64, format="safetensors", file_bytes=7, parameters=42)


class NoSpark(dg.ConfigurableResource):
    """Any resource with a `spark_session` will do; nobody may ask this one for it."""

    @property
    def spark_session(self) -> Any:
        raise AssertionError("a Spark session was started, though there is nothing to score")
