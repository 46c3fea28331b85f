"""The audit of one run of a task: it looks at each publication before the commit, and refuses it or records what it found."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from sparktorch_assets.audit.drift_checks import drift_outcomes
from sparktorch_assets.audit.history import History
from sparktorch_assets.audit.limit_checks import limit_outcomes, output_outcomes
from sparktorch_assets.audit.own_checks import OwnCheck, load_own_checks, own_outcomes
from sparktorch_assets.audit.statistics import Statistics
from sparktorch_assets.errors import AuditFailedError, AuditOutcome, TaskError, nearest
from sparktorch_assets.lake.files.partition_values import partition_folder
from sparktorch_assets.lake.publication import Publication
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask

AUDIT_KEY, CANARIES_KEY = "audit", "canaries"
"""Keys of a commit's metadata: what the checks found, as JSON (folder of a partition -> outcomes), and which model answered
the canaries."""
_MOST_SCOPES = 200
"""A commit of more partitions records only the checks that were overruled."""


class TaskAudit:
    """What has to hold before predictions of a task are published.

    Args:
        task: the task.
        publish_despite: names of checks that may fail this time.
        kept: whether the finished parts stay in the table's folder after a refusal.

    Raises:
        TaskError: `publish_despite` names no check of the task.
    """

    def __init__(self, task: MlTask, publish_despite: Collection[str] = (), *, kept: bool = True) -> None:
        self.task = task
        self.recorded: dict[str, str] = {}
        """The metadata that go with the commit: they are complete when all its publications have been looked at."""
        self.found: dict[str, tuple[AuditOutcome, ...]] = {}
        """Folder of each partition that may be published (empty for the whole table) -> what the checks found."""
        self._kept = kept
        if isinstance(publish_despite, str):
            raise TaskError(
                f"task {task.name!r}: publish_despite={publish_despite!r} stands alone; write a list: [{publish_despite!r}]"
            )
        self._despite = frozenset(publish_despite)
        known = (*task.audit.names, *(spec.name for spec in task.output.check_specs))
        for name in self._despite - set(known):
            raise TaskError(
                f"task {task.name!r}: publish_despite names {name!r}, which is no check of it; {nearest(name, known)}"
            )
        self._own: dict[str, OwnCheck] = {}
        self._passed: dict[str, Tally] = {}
        self._history: History | None = None
        self._of_model: tuple[AuditOutcome, ...] = ()

    def begin(self, model_digest: str) -> None:
        """Check what can be known before anything is scored.

        Raises:
            TaskError: one of the task's own checks cannot be imported.
            AuditFailedError: the model is not one that the task allows.
        """
        self._own = load_own_checks(self.task)
        if self.task.audit.allowed_models:
            self._require(_allowed(self.task, model_digest))

    def canaries_answered(self, outcome: AuditOutcome, key: str) -> None:
        """Take note of how the model has answered the canaries, before anything is scored with it.

        Args:
            outcome: what was found.
            key: a digest of the model and the canaries, with which later runs know that they need not ask again.

        Raises:
            AuditFailedError: the answers are wrong, and that was not overruled.
        """
        self._require(outcome)
        if outcome.passed:
            self.recorded[CANARIES_KEY] = key

    def __call__(self, publication: Publication) -> None:
        """Look at what is about to be published.

        Raises:
            AuditFailedError: a check failed that may not.
        """
        if self._history is None or self._history.version != publication.table.version:
            # The first publication, or the first one after a lost race, when all are looked at again.
            self._history = History(publication.table)
            self.found.clear()
            self._passed.clear()
        folder = partition_folder(publication.partition)
        now = Statistics.of(self.task, publication.tally, folder)
        before = self._before(publication)
        found = (
            *self._of_model,
            *output_outcomes(self.task, publication.tally),
            *limit_outcomes(self.task, now),
            *drift_outcomes(self.task.audit, now, before),
            *own_outcomes(self.task, self._own, now, before),
        )
        self.found[folder] = self._accepted(found, publication)
        self._passed[folder] = publication.tally
        self.recorded[AUDIT_KEY] = _to_json(self.found)

    def withdraw(self, publication: Publication) -> None:
        """Forget a publication that somebody else has refused: nothing is compared with it, and nothing recorded of it."""
        folder = partition_folder(publication.partition)
        del self.found[folder], self._passed[folder]
        self.recorded[AUDIT_KEY] = _to_json(self.found)

    def _before(self, publication: Publication) -> list[Statistics]:
        if not (self.task.audit.drift_checks or self._own):
            return []
        folder = partition_folder(publication.partition)
        this_run = {name: tally for name, tally in self._passed.items() if name != folder}
        assert self._history is not None  # set by the caller
        earlier = self._history.before(publication.partition, self.task.audit.history, this_run)
        return [Statistics.of(self.task, tally, name) for name, tally in earlier]

    def _require(self, outcome: AuditOutcome) -> None:
        """Refuse the model before anything is scored, or keep the outcome for each publication."""
        self._of_model += self._accepted((outcome,))

    def _accepted(
        self, outcomes: tuple[AuditOutcome, ...], publication: Publication | None = None
    ) -> tuple[AuditOutcome, ...]:
        failed = [outcome for outcome in outcomes if not outcome.passed and outcome.check not in self._despite]
        if failed:
            raise AuditFailedError(self._message(failed, outcomes, publication), outcomes=outcomes)
        return tuple(outcome if outcome.passed else replace(outcome, overruled=True) for outcome in outcomes)

    def _message(
        self, failed: Sequence[AuditOutcome], outcomes: Sequence[AuditOutcome], publication: Publication | None
    ) -> str:
        names = [outcome.check for outcome in failed]
        if publication is None:
            what, stays = "nothing was scored", "The table stays as it was."
        else:
            folder, version = partition_folder(publication.partition), publication.table.version
            what = f"{folder or 'the table'} was not published"
            stays = "There is still no table" if version is None else f"Readers still see version {version}"
            stays = "Readers see of it what they saw before" if folder else stays
            stays += ", and the finished parts are kept." if self._kept else "; the predictions are lost."
        problems = "; ".join(outcome.problem for outcome in failed)
        again = " Nothing is scored again then." if publication is not None and self._kept else ""
        return (
            f"task {self.task.name!r}: {what}, because {len(failed)} of {len(outcomes)} checks failed: {problems}. {stays} "
            f"If this is as it should be, run once with publish_despite={names!r} (an argument of score_table, a field of "
            f"the asset's config in the Launchpad), or change the task's audit.{again}"
        )


def recorded_outcomes(metadata: Mapping[str, str], folder: str) -> tuple[AuditOutcome, ...]:
    """What the checks of a partition (of the whole table, if the folder is empty) found before the commit with this
    metadata; empty if it does not say."""
    try:
        found = json.loads(metadata[AUDIT_KEY]).get(folder, ())
        return tuple(AuditOutcome(**outcome) for outcome in found)
    except (KeyError, TypeError, ValueError, AttributeError):  # a commit of another version
        return ()


def _allowed(task: MlTask, model_digest: str) -> AuditOutcome:
    allowed = task.audit.allowed_models
    problem = (
        ""
        if model_digest in allowed
        else f"the model's digest is {model_digest}, which audit.allowed_models does not list"
    )
    return AuditOutcome(
        check="allowed_models", problem=problem, details={"model": model_digest, "allowed": len(allowed)}
    )


def _to_json(found: Mapping[str, Iterable[AuditOutcome]]) -> str:
    brief = len(found) > _MOST_SCOPES
    kept = {
        folder: [asdict(outcome) for outcome in outcomes if outcome.overruled or not brief]
        for folder, outcomes in found.items()
    }
    return json.dumps({folder: outcomes for folder, outcomes in kept.items() if outcomes})
