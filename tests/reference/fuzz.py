"""Runs new histories until the time is over: `make fuzz MINUTES=30`. `make fuzz SEED=7` runs one round again, and shrinks
what it finds.

Prints each failing history with the seed of its round. Ends with 1 where there was one. With Java at hand, Spark writes some
of the input files and reads every table.
"""

import argparse
import faulthandler
import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import hypothesis

sys.path.append(str(Path(__file__).parents[1]))  # what all tests share; pytest does the same
from fuzz_machine import FuzzMachine
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

HISTORIES_A_ROUND = 10


def run_round(seed: int, *, shrink: bool) -> BaseException | None:
    """What the first failing history of a round raised; `None` where all are fine."""
    options = settings(
        max_examples=HISTORIES_A_ROUND,
        stateful_step_count=12,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(FuzzMachine), settings=options)
    except Exception as error:  # noqa: BLE001  (whatever is found)
        return error
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="run this round alone, and shrink what it finds")
    parser.add_argument("--without-spark", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    faulthandler.register(signal.SIGUSR1)  # `kill -USR1` tells where it hangs
    FuzzMachine.spark = None if options.without_spark else _session()
    until = time.monotonic() + 60 * options.minutes
    first = random.SystemRandom().randrange(10**6) * 1000 if options.seed is None else options.seed
    seed, failing = first, []
    while seed == first or (options.seed is None and time.monotonic() < until):
        error = run_round(seed, shrink=options.seed is not None)
        if error is not None:
            failing.append(seed)
            traceback.print_exception(error)
            print(f"\n^ seed {seed}: to shrink it, run `make fuzz SEED={seed}`\n", flush=True)
        seed += 1
    print(
        f"{FuzzMachine.histories:,} histories, {FuzzMachine.steps:,} steps, {FuzzMachine.rows_checked:,} rows compared, "
        f"{'with' if FuzzMachine.spark else 'without'} Spark: "
        + (f"{len(failing)} rounds failed, seeds {', '.join(map(str, failing))}" if failing else "nothing found")
    )
    return 1 if failing else 0


def _session() -> object | None:
    from sparktorch_assets.errors import HostError
    from sparktorch_assets.spark.session.start import start_session

    try:
        return start_session(
            master="local[1]",
            app_name="fuzz",
            config={
                "spark.driver.memory": "1g",
                "spark.ui.enabled": "false",
                "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
            },
        )
    except HostError as error:
        print(f"Spark takes no part: {error}")
        return None


if __name__ == "__main__":
    found = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(found)  # the readers' thread pools do not always end in peace
