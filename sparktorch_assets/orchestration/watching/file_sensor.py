"""The sensor that runs input and model assets when their files have changed."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg

from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.orchestration.keys import MODELS_GROUP, WATCH_TAG
from sparktorch_assets.orchestration.partitions.runs import planned_runs
from sparktorch_assets.orchestration.watching.memory import Memory, Seen, as_cursor, memories_of
from sparktorch_assets.orchestration.watching.watched import Watched, watched_assets
from sparktorch_assets.tasks.digest import digest_of

FILE_SENSOR = "watch_files"
_SHOWN = 5


def file_sensor(*, running: bool, seconds: int) -> dg.SensorDefinition:
    """A sensor that runs the input and model assets of the code location whose files are new, changed or gone.

    Args:
        running: whether it is on from the start. If not, it can be switched on in Dagster's UI.
        seconds: the least time between two looks.
    """
    # Dagster reads the types of parameters when the sensor is made. Imported above, they would make `dg list components`
    # load pyspark.
    from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource

    @dg.sensor(
        name=FILE_SENSOR,
        asset_selection=dg.AssetSelection.tag(WATCH_TAG, "yes"),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description=(
            "Look for source files and model files that are new, changed or gone, and run the input and model assets that "
            "read them. Predictions follow on their schedule, or at once if the sensor refresh_what_is_stale is on."
        ),
    )
    def watch_files(
        context: dg.SensorEvaluationContext,
        lake: dg.ResourceParam[LakeResource],
        model_loader: dg.ResourceParam[ModelLoaderResource],
    ) -> dg.SensorResult:
        assert context.repository_def is not None
        looked = look_at_all(watched_assets(context.repository_def, lake, model_loader))
        for problem in looked.problems.values():
            context.log.warning(problem)
        before, now = memories_of(context.cursor), time.time()
        # What could not be looked at is remembered as it was: files that cannot be reached are not gone.
        memories = {name: before[name] for name in looked.problems.keys() & before.keys()}
        changed = []
        for name, seen in looked.seen.items():
            memory = before.get(name, Memory())
            asked = memory.asks(seen, now)
            memories[name] = memory.after(seen, asked=asked)
            if asked:
                changed.append(name)
        requests = list(_requests(context, {name: memories[name] for name in changed}))
        skipped = None if requests else looked.summary
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=as_cursor(memories))

    return watch_files


@dataclass(frozen=True, slots=True)
class Looked:
    """What a tick has found, by the names of assets."""

    seen: dict[str, Seen] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """Why an asset could not be looked at."""

    @property
    def summary(self) -> str:
        """One sentence for a tick that requests nothing."""
        if self.problems:
            shown = " | ".join(list(self.problems.values())[:_SHOWN])
            return f"{len(self.problems):,} of {len(self.seen) + len(self.problems):,} assets not looked at: {shown}"
        files = sum(seen.files for seen in self.seen.values())
        return f"nothing new that is complete: {files:,} files of {len(self.seen):,} assets"


def look_at_all(watched: Iterable[Watched]) -> Looked:
    """Look at the files of all assets. A server that does not answer once is not asked again."""
    looked = Looked()
    silent: set[str] = set()
    for one in watched:
        name = one.asset.to_user_string()
        if one.server in silent:
            looked.problems[name] = f"{name}: {one.server} did not answer before"
            continue
        try:
            looked.seen[name] = one.look()
        except (SparktorchError, OSError) as error:
            looked.problems[name] = f"{name}: {error}"
            if one.server:
                silent.add(one.server)
    return looked


def _requests(context: dg.SensorEvaluationContext, memories: Mapping[str, Memory]) -> Iterator[dg.RunRequest]:
    """One run per input, so that one that fails stops no other; and one of all models, which only compares files."""
    assert context.repository_def is not None
    graph = context.repository_def.asset_graph
    keys = {name: dg.AssetKey.from_user_string(name) for name in memories}
    models = {key for key in keys.values() if graph.get(key).group_name == MODELS_GROUP}
    for assets in [*({key} for key in keys.values() if key not in models), *([models] if models else [])]:
        states = sorted(
            (name, memories[name].asked, memories[name].requests) for name in memories if keys[name] in assets
        )
        # If the tick is repeated after a crash, Dagster finds the run by its key.
        run_key = f"{FILE_SENSOR} {digest_of(states)[:16]}"
        for number, run in enumerate(planned_runs(context.instance, graph, assets, one_by_one=False)):
            yield dg.RunRequest(run_key=f"{run_key} {number}", asset_selection=list(run.assets), tags=dict(run.tags))
