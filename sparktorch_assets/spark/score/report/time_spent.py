"""One sentence about where a run's time went, and the one setting that would help most, if there is one."""

from collections.abc import Mapping

from sparktorch_assets.spark.score.report.report import ScoreReport
from sparktorch_assets.tasks import MlTask

_NAMES: Mapping[str, str] = {
    "load": "loading the model",
    "read": "reading",
    "preprocessor": "hooks",
    "encode": "encoding",
    "forward": "the model",
    "decode": "decoding",
    "postprocessor": "hooks",
    "write": "writing",
}
"""The workers' phases by what a reader calls them."""
_SHOWN_SHARE = 0.05
_MOST = 0.5
"""A phase that takes this share of the time is the one that is worth a change."""
_UNEVEN = 1.5
_WAITING = 0.25
_SHORT_S = 1.0
"""A run that scored for less than this has nothing to gain."""


def time_spent(task: MlTask, report: ScoreReport) -> str | None:
    """Where the time of a run went: its phases by the clock and, for the scoring itself, the shares of the workers'
    seconds. It ends with the setting that would help, if one phase stands out. `None` if the run scored nothing.

    Args:
        task: the task that was scored.
        report: the report of `score_table`; that of `score_dataframe` knows no seconds of workers.
    """
    scoring = report.scoring
    if not report.rows_new or scoring is None:
        return None
    total = report.seconds.get("total", 0.0)
    score, session = report.seconds.get("score", 0.0), report.seconds.get("session", 0.0)
    other = max(0.0, total - score - session)
    said = f"{total:.1f} s: {score:.1f} s scoring, {session:.1f} s waiting for the Spark session, {other:.1f} s planning and commit"
    shares = _shares(scoring.worker_seconds)
    if shares:
        listed = sorted(((share, name) for name, share in shares.items() if share >= _SHOWN_SHARE), reverse=True)
        said += "; in the workers " + ", ".join(f"{share:.0%} {name}" for share, name in listed)
    waited = _gpu_waited(report)
    if waited is not None:
        said += f"; the GPU's slots waited {waited:.0%} of the time"
    advice = _advice(task, report, shares, waited)
    return f"{said}. {advice}" if advice else f"{said}."


def _shares(worker_seconds: Mapping[str, float]) -> dict[str, float]:
    """Each phase as a share of the workers' seconds. Phases may run at the same time, on several threads."""
    whole, shares = sum(worker_seconds.values()), dict[str, float]()
    for phase, seconds in worker_seconds.items() if whole > 0 else ():
        name = _NAMES.get(phase, phase)
        shares[name] = shares.get(name, 0.0) + seconds / whole
    return shares


def _gpu_waited(report: ScoreReport) -> float | None:
    """The share of the scoring during which the slots on GPUs ran no forward pass; `None` without GPUs."""
    scoring = report.scoring
    if scoring is None or not scoring.slots or not any(device.startswith("cuda") for device in scoring.devices):
        return None
    available = scoring.seconds.get("score", 0.0) * scoring.slots
    at_work = scoring.worker_seconds.get("forward", 0.0) / available if available > 0 else 0.0
    return max(0.0, 1.0 - at_work) if scoring.worker_seconds else None


def _advice(task: MlTask, report: ScoreReport, shares: Mapping[str, float], waited: float | None) -> str:
    """What would help most; empty if nothing stands out."""
    total, score = report.seconds.get("total", 0.0), report.seconds.get("score", 0.0)
    if total and report.seconds.get("session", 0.0) >= _MOST * total:
        return "A Spark session is started once per run: assets that are refreshed in one run share it"
    if score < _SHORT_S:
        return ""
    if report.balance is not None and report.balance >= _UNEVEN:
        return (
            f"The busiest slot worked {report.balance:.1f} times as long as the average one: more and smaller files, or row "
            f"groups, in the input would divide more evenly"
        )
    most = max(shares, key=lambda name: shares[name], default="")
    if not most or shares[most] < _MOST:
        return ""
    if waited is not None and waited >= _WAITING and most in ("encoding", "reading", "decoding"):
        return "More model instances per GPU (`models_per_gpu` of the resource `model_loader`) would do this work side by side"
    return _advice_on(most, task, on_gpu=waited is not None)


def _advice_on(phase: str, task: MlTask, *, on_gpu: bool) -> str:
    if phase in ("reading", "writing") and task.keep_columns is None:
        return "Every input column is kept: `keep_columns` would write fewer, and read fewer unless a preprocessor needs them"
    if phase == "hooks" and (task.hooks.row_preprocessor or task.hooks.row_postprocessor):
        return "Row hooks see one row at a time: a batch hook handles whole record batches"
    if phase == "loading the model":
        return "Each slot's process loads the model once, however many rows follow: more rows per run cost little more"
    network = task.model.factory is None and not task.model.compiled
    if phase == "the model" and on_gpu and network and task.execution.precision == "fp32":
        return "`execution: {precision: bf16}` makes forward passes shorter on most GPUs, and compares itself with fp32"
    if phase in ("encoding", "the model", "decoding", "hooks") and not on_gpu:
        return "Each core is a slot: more cores in the Spark session (`master` of the resource `spark`) share this work"
    return ""
