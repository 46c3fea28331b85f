"""The last step of a refresh: checks that every row is accounted for and that not too many failed, and commits once."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence

from sparktorch_assets.errors import TableError, TooManyDroppedRowsError
from sparktorch_assets.lake.commit_plan import Committed, commit_plan
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.log.commit import last_commit_metadata
from sparktorch_assets.lake.log.snapshot import Snapshot, read_snapshot
from sparktorch_assets.lake.log.table_tally import TALLY_KEY, parts_tally, table_tally, tally_after
from sparktorch_assets.lake.partition_values import partition_folder
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.spark.score.failure_reasons import too_many_failed_rows
from sparktorch_assets.spark.score.scoring import SCORING_KEY, Scoring, last_scoring
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask


def commit_scored(
    task: MlTask,
    plan: Plan,
    parts: Mapping[str, tuple[PartFile, Receipt]],
    digest: str,
    run_id: str,
    scoring: Scoring | None = None,
) -> tuple[Committed, Tally]:
    """Commit a plan's parts, and return the tally of the table, or of the partition if the plan covers only one.

    Args:
        task: the task that was run.
        plan: the plan that was carried out.
        parts: path -> part and receipt, for all new and resumed parts.
        digest: the model's digest.
        run_id: recorded in the commit.
        scoring: how this run scored rows; `None` keeps the figures of the last run that did.

    Raises:
        TooManyFailedRowsError, TooManyDroppedRowsError: more rows failed or were dropped than the task allows. Nothing
            was committed.
        TableError: the parts do not account for every row of the input. Nothing was committed.
        CommitConflictError: another run has refreshed the same rows to something else.
    """
    tally = Tally()

    def metadata(current: Snapshot, remove: tuple[str, ...]) -> dict[str, str]:
        nonlocal tally
        added = [parts[path][1].tally for path in plan.target - current.parts.keys()]
        whole = tally_after(plan.output_table, current, remove, added)
        tally = whole if not plan.partition else _partition_tally(plan, current, added)
        if not tally.balanced or tally.rows + tally.filtered != plan.rows:
            raise TableError(
                f"task {task.name!r}: the parts account for {tally.rows + tally.filtered:,} rows, the input has "
                f"{plan.rows:,}. Nothing was committed; was a part's file deleted by hand?"
            )
        written = {path: receipt.tally for path, (_, receipt) in parts.items()}
        check_limits(task, tally, Folder(plan.output_table), written, kept=True)
        scope = {"partition": partition_folder(plan.partition)} if plan.partition else {}
        return commit_metadata(task, digest, run_id, whole, scoring or last_scoring(plan.output_table)) | scope

    committed = commit_plan(
        plan, {path: part for path, (part, _) in parts.items()}, metadata, description=task.description
    )
    if not committed.changed:  # another run has already committed the same
        tally = tally_now(plan, read_snapshot(plan.output_table))
    return committed, tally


def check_limits(task: MlTask, tally: Tally, folder: Folder, written: Mapping[str, Tally], *, kept: bool) -> None:
    """Raise `TooManyFailedRowsError` or `TooManyDroppedRowsError` if more rows failed or were dropped than the task
    allows.

    Args:
        task: the task that was run.
        tally: the tally of the table, or of the partition.
        folder: the table's folder.
        written: path -> tally, for the finished files in the folder, from which the error quotes failed rows.
        kept: whether these files stay in the folder after the error.
    """
    too_many = task.check_failures(tally.failed, tally.rows, tally.reasons)
    if too_many:
        raise too_many_failed_rows(task, too_many, tally, folder, written, kept=kept)
    too_many = task.check_drops(tally.dropped, tally.rows)
    if too_many:
        raise TooManyDroppedRowsError(too_many)


def tally_now(plan: Plan, snapshot: Snapshot) -> Tally:
    """The table's tally, or the partition's if the plan covers only one."""
    if not plan.partition:
        return table_tally(plan.output_table, snapshot)
    return parts_tally(plan.output_table, snapshot.within(plan.partition).keys())


def known_ceilings(output_table: str, digest: str) -> dict[str, int]:
    """The batch sizes that the last run of the same model found to fit (`Tally.ceilings`); empty if it never ran out of
    memory."""
    metadata = last_commit_metadata(output_table)
    if metadata.get("model_digest") != digest or TALLY_KEY not in metadata:
        return {}
    return Tally.from_plain(json.loads(metadata[TALLY_KEY])).ceilings


def _partition_tally(plan: Plan, current: Snapshot, added: Sequence[Tally]) -> Tally:
    kept = parts_tally(plan.output_table, plan.target & current.parts.keys())
    return Tally.total([kept, *added])


def commit_metadata(task: MlTask, digest: str, run_id: str, tally: Tally, scoring: Scoring | None) -> dict[str, str]:
    """The metadata of each commit of predictions; `tally` is that of the whole table."""
    return {
        **({SCORING_KEY: scoring.to_json()} if scoring else {}),
        "run_id": run_id,
        "task": task.name,
        "model_digest": digest,
        "code_version": task.code_version,
        "package_version": _package_version(),
        TALLY_KEY: json.dumps(tally.to_plain()),
    }


def _package_version() -> str:
    try:
        return importlib.metadata.version("sparktorch-assets")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "unknown"
