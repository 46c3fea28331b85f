"""Materialize every asset of a code location in this process, show progress, and print a summary.

    python -m sparktorch_assets.orchestration.commands.run sparktorch_assets.definitions

Materializations go to the project's own DAGSTER_HOME, so that the UI shows them. Progress goes to stderr, the table to
stdout. The exit status is 1 if an asset or a check failed; the other assets still run.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

import dagster as dg
from dagster.components.definitions import LazyDefinitions

from sparktorch_assets.orchestration.assets.progress import progress_logger
from sparktorch_assets.orchestration.commands.dagster_home import use_dagster_home
from sparktorch_assets.orchestration.commands.summary import failed_checks, failures, summary_table, time_lines

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
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(
            instance=instance, raise_on_error=False, run_config={"loggers": {LOGGER: {"config": {}}}}
        )
    failed, refused = failures(result), failed_checks(result)
    _say(f"\n{summary_table(result)}\n")
    for line in time_lines(result):
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
