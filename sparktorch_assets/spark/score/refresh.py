"""Carries out a planned refresh: all shards to score are scored, and one commit publishes them, with one report per plan."""

import logging
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

from sparktorch_assets.audit.history import order_of_values
from sparktorch_assets.audit.task_audit import TaskAudit, recorded_outcomes
from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.lake.commit_plan import Commits, Parts, commit_plans, keep_resumed
from sparktorch_assets.lake.files.partition_values import Partition, partition_folder
from sparktorch_assets.lake.log.snapshot import data_version_of
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.lake.publication import Publication, last_publications, partition_tallies
from sparktorch_assets.lake.table_tally import table_tally
from sparktorch_assets.spark.score.commit import check_publication, commit_metadata
from sparktorch_assets.spark.score.job.canaries import ask_canaries, find_canaries
from sparktorch_assets.spark.score.job.finished_parts import FinishedParts
from sparktorch_assets.spark.score.plan.planned import Planned
from sparktorch_assets.spark.score.report.report import ScoreReport
from sparktorch_assets.spark.score.report.scoring import Scoring, last_scoring
from sparktorch_assets.spark.score.run_options import RunOptions
from sparktorch_assets.spark.score.shard_scoring import Scored, score_shards
from sparktorch_assets.tally import Tally

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refreshed:
    """The outcome of a refresh."""

    reports: Mapping[Partition, ScoreReport]
    """Partition -> its report, without the refused ones; `()` is the whole table."""
    refused: Mapping[Partition, SparktorchError]
    """The partitions of which nothing was committed, each with its reason."""


@dataclass(kw_only=True, slots=True)
class _Run:
    """What happened so far."""

    started: float
    seconds: dict[str, float]
    scored: Scored | None = None
    scoring: Scoring | None = None
    """How this run scored rows or, if it had none to score, how the last run that scored rows did."""

    @property
    def parts(self) -> FinishedParts:
        """The parts of the shards that were scored."""
        return self.scored.parts if self.scored else FinishedParts()


def refresh(
    spark_session: "Callable[[], SparkSession] | SparkSession", planned: Planned, options: RunOptions, started: float
) -> Refreshed:
    """Score what is new, and commit the plans.

    Args:
        spark_session: see `score_table`; asked for only if there are rows to score.
        planned: the refresh.
        options: how it is carried out.
        started: the time at which planning began, of `time.perf_counter`.

    Raises:
        SparktorchError: see `score_table`; reasons to refuse a partition are returned instead.
    """
    decided = time.perf_counter()
    run = _Run(started=started, seconds={"plan": decided - started, "session": 0.0, "score": 0.0, "commit": 0.0})
    audit = TaskAudit(planned.task, options.publish_despite)
    changing = [plan for plan in planned.plans if plan.changes]
    if not changing:
        run.seconds["total"] = time.perf_counter() - started
        run.scoring = last_scoring(planned.table)
        several = f"all {len(planned.plans):,} partitions of {planned.table.uri} are up to date"
        _LOG.info("%s", planned.plans[0] if len(planned.plans) == 1 else several)
        planned.kept_footers.keep(planned.source.files)
        return Refreshed(reports=_reports(planned, run, Commits(committed={}, refused={}), audit), refused={})
    audit.begin(planned.model_digest)
    canaries = find_canaries(planned.task, planned.model_loader, planned.model_digest)
    for plan in changing:
        keep_resumed(plan)
    _warn_of_another_task(planned, changing)
    session = cache(lambda: _checked(spark_session))
    asked = time.perf_counter()
    ask_canaries(
        canaries,
        audit,
        planned.table.metadata,
        session,
        model_loader=planned.model_loader,
        slots=options.slots,
        batch_size=options.batch_size,
    )
    run.seconds["session"] = time.perf_counter() - asked
    if any(plan.new for plan in changing):
        run.scored = score_shards(session, planned, options, run.seconds)
        planned, run.scoring = run.scored.planned, run.scored.scoring
        run.seconds |= run.scoring.seconds
        changing = [plan for plan in planned.plans if plan.changes]
    scored = time.perf_counter()
    run.scoring = run.scoring or last_scoring(planned.table)
    carried: dict[str, str] = {}

    def check(publication: Publication) -> None:
        check_publication(planned.task, publication, audit, options.audit, kept=True)
        carried.update(planned.rescoring.metadata(publication.table.metadata))
        carried.update(planned.shard_rows.metadata(publication.table.metadata, publication.partition))

    commits = commit_plans(
        # In the order in which the audit compares them, whatever the order of the run's partitions.
        sorted(changing, key=lambda plan: order_of_values(partition_folder(plan.partition))),
        _together(run.parts, {path: part for plan in changing for path, part in plan.resumed.items()}),
        check,
        # A view: what the checks find is known when they have looked at what would be committed.
        ChainMap(
            audit.recorded,
            carried,
            commit_metadata(planned.task, planned.model_digest, options.run_id, run.scoring),
        ),
        description=planned.task.description,
    )
    planned.kept_footers.keep(planned.source.files)
    done = time.perf_counter()
    run.seconds |= {"commit": done - scored, "total": done - started}
    return Refreshed(reports=_reports(planned, run, commits, audit), refused=commits.refused)


def _together(scored: Parts, resumed: Parts) -> Parts:
    """A view of both, since the parts of a large run are decoded only when they are looked at."""
    return ChainMap(cast("MutableMapping[str, tuple[PartFile, Receipt]]", scored), dict(resumed))


def _checked(spark_session: "Callable[[], SparkSession] | SparkSession") -> "SparkSession":
    """The session, whose workers run a Python that fits."""
    from sparktorch_assets.spark.session.worker_python import check_session_python

    session = spark_session() if callable(spark_session) else spark_session
    check_session_python(session)
    return session


def _warn_of_another_task(planned: Planned, plans: list[Plan]) -> None:
    """Warn if another task made the table: two tasks with one output would replace each other's rows in every run."""
    obsolete = sum(len(plan.obsolete) for plan in plans)
    made_by = planned.table.metadata.get("task", planned.task.name) if obsolete else planned.task.name
    if made_by != planned.task.name:
        _LOG.warning(
            "%s was last made by task %r, and task %r replaces %d of its parts now; give each task a table of its own",
            planned.table.uri,
            made_by,
            planned.task.name,
            obsolete,
        )


def _reports(planned: Planned, run: _Run, commits: Commits, audit: TaskAudit) -> dict[Partition, ScoreReport]:
    plans = [plan for plan in planned.plans if plan.partition not in commits.refused]
    unchanged = [plan.partition for plan in plans if plan.partition not in commits.committed]
    if unchanged == [()]:
        tallies: Mapping[Partition, Tally] = {(): table_tally(planned.table)}
    else:
        tallies = partition_tallies(planned.table, unchanged)
    published = last_publications(planned.table, unchanged)
    version = max((done.version for done in commits.committed.values()), default=planned.table.version)
    scored = sum(shard.rows for plan in planned.plans for shard in plan.new)
    reports = {}
    for plan in plans:
        own = sum(shard.rows for shard in plan.new)
        committed = commits.committed.get(plan.partition)
        tally = tallies[plan.partition] if committed is None else committed.tally
        folder = partition_folder(plan.partition)
        run_tally = run.parts.tally(plan.partition)
        share = own / scored if scored else 1 / len(planned.plans)
        reports[plan.partition] = ScoreReport(
            task=planned.task.name,
            table=planned.table.uri,
            version=cast(int, version),
            changed=committed is not None and committed.changed,
            shards_new=len(plan.new),
            shards_unchanged=len(plan.unchanged),
            shards_removed=len(plan.obsolete),
            shards_resumed=len(plan.resumable),
            rows_in=plan.rows - tally.outside,
            rows_table=tally.predicted + tally.failed,
            rows_new=own - run_tally.outside,
            tally=tally,
            run_tally=run_tally,
            seconds={phase: seconds * share for phase, seconds in run.seconds.items()},
            slots=run.scored.scoring.slots if run.scored else 0,
            balance=run.scored.scoring.balance if run.scored else None,
            scoring=run.scoring,
            model_digest=planned.model_digest,
            data_version=data_version_of(plan.target, plan.schema),
            partition=plan.partition,
            audits=audit.found.get(folder) or recorded_outcomes(published.get(plan.partition, {}), folder),
        )
    return reports
