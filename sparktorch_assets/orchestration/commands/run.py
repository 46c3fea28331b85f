"""Materialize every asset of a code location in this process, show progress, and print a summary.

    python -m sparktorch_assets.orchestration.commands.run sparktorch_assets.definitions

Materializations go to the project's own DAGSTER_HOME, so that the UI shows them. Progress goes to stderr, the table to
stdout. The exit status is 1 if an asset or a check failed; the other assets still run.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.definitions import LazyDefinitions

from sparktorch_assets.orchestration.assets.run.progress import progress_logger
from sparktorch_assets.orchestration.commands.dagster_home import use_dagster_home
from sparktorch_assets.orchestration.commands.open_databases import open_databases
from sparktorch_assets.orchestration.commands.summary import failed_checks, failures, summary_table, time_lines
from sparktorch_assets.orchestration.partitions.runs import planned_runs

LOGGER = "progress"


def main(arguments: list[str] | None = None) -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sparktorch_assets.orchestration.commands.run",
        description="Materialize every asset of a code location.",
    )
    parser.add_argument("module", help="the module that holds the Definitions, such as my_project.definitions")
    module = parser.parse_args(arguments).module
    use_dagster_home(Path.cwd())
    began = time.monotonic()
    definitions = dg.Definitions.merge(
        load_definitions(module), dg.Definitions(loggers={LOGGER: progress_logger(sys.stderr)})
    )
    with open_databases(), dg.DagsterInstance.get() as instance:
        results = list(run_all(definitions, instance, run_config={"loggers": {LOGGER: {"config": {}}}}))
    failed = {step: message for result in results for step, message in failures(result).items()}
    refused = [check for result in results for check in failed_checks(result)]
    _say(f"\n{summary_table(results)}\n")
    for line in time_lines(results):
        _say(line)
    took = f"{time.monotonic() - began:.0f} s"
    _say(
        f"Done in {took}: {len(failed)} failed, {len(refused)} checks failed."
        if failed or refused
        else f"Done in {took}. See the graph: make dev, then open http://127.0.0.1:3000"
    )
    # Last, where people look first.
    for check in refused:
        _say(f"\nFAILED CHECK {check}")
    for asset, message in failed.items():
        _say(f"\nFAILED {asset}: {message}")
    return 1 if failed or refused else 0


def run_all(
    definitions: dg.Definitions, instance: dg.DagsterInstance, *, run_config: Mapping[str, Any] | None = None
) -> Iterator[dg.ExecuteInProcessResult]:
    """Materialize every asset, over all partitions of those that have some: in one run if these are divided alike, else
    in one run per way of dividing, in the order of the graph.

    Args:
        definitions: those of a code location.
        instance: where the materializations are recorded.
        run_config: that of each run.
    """
    job = definitions.resolve_implicit_global_asset_job_def()
    graph = job.asset_layer.asset_graph
    failed: set[dg.AssetKey] = set()
    for run in planned_runs(instance, graph, graph.executable_asset_keys, one_by_one=True):
        assets = []
        for key in run.assets:
            if graph.get(key).parent_keys & failed:
                failed.add(key)  # what it is made from has failed, in an earlier run
            else:
                assets.append(key)
        if not assets:
            continue
        result = job.execute_in_process(
            instance=instance, raise_on_error=False, asset_selection=assets, tags=run.tags, run_config=run_config
        )
        unfinished = failures(result)
        events = result.get_asset_materialization_events()
        failed |= set(assets) - {event.asset_key for event in events if event.step_key not in unfinished}
        yield result


def load_definitions(module: str) -> dg.Definitions:
    """The Definitions of a module, written as an object or as a `@dg.definitions` function."""
    kinds = (dg.Definitions, LazyDefinitions)
    found = [value for value in vars(importlib.import_module(module)).values() if isinstance(value, kinds)]
    if len(found) != 1:
        raise SystemExit(f"error: {module} holds {len(found)} Dagster Definitions; exactly one is expected")
    return found[0] if isinstance(found[0], dg.Definitions) else found[0]()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  (a command's output)


if __name__ == "__main__":
    sys.exit(main())
