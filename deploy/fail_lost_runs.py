"""Mark the runs of a code server that nobody executes any more as failed. Called before the code server starts.

    python fail_lost_runs.py --port 4000

Runs are child processes of their code server. After a crash or a reboot they are gone, but Dagster's database still has
them as in progress. `DAGSTER_HOME` names the instance. Runs of other code servers are left alone.
"""

import argparse
import json

import dagster as dg

IN_PROGRESS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
LAUNCHED_BY = ".dagster/grpc_info"
"""The run tag in which Dagster's run launcher notes the address of the code server."""


def main(arguments: list[str] | None = None) -> None:
    """Report each lost run as failed, and print its id."""
    parser = argparse.ArgumentParser(description="Mark runs that nobody executes any more as failed.")
    parser.add_argument("--port", type=int, required=True, help="port of the code server, which is not running now")
    port = parser.parse_args(arguments).port
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
            if json.loads(run.tags.get(LAUNCHED_BY, "{}")).get("port") == port:
                instance.report_run_failed(
                    run, "The code server stopped, and this run with it. Its finished parts stay."
                )
                print(f"run {run.run_id} was lost")


if __name__ == "__main__":
    main()
