"""How long until something runs? `make bench-startup`.

Four things, each in a process of its own, the plain way and the way that starts sooner, in turn, `--repeats` times:

- *session*: a local session with two cores exists. *first job*: it has also run one job with a Python worker per core that
  has torch. (With a warm-up job in the background, most of which is done before.)
- *refresh*: what `score_table` takes for a new table, beyond the session, which it starts.
- *run*: what `make run` takes in an empty lake; *again*: with nothing to do. (Skipped with `--without-run`.)

The plain way has no class archive, Spark's own daemon of workers, no warm-up job, and a DAGSTER_HOME whose files are opened
and closed at each event. Shown are medians of wall seconds, of the processor seconds of the JVM at the end of the first job
and of the two runs' own process, and the median of the ratios of each pair. Before that, the archive is made (not timed in what follows); after it, the memory of a worker is
measured as PSS, in which a page that n processes share counts as 1/n. Ends with one JSON line.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_score import make_source

ROOT = Path(__file__).parents[1]
PLAIN = dict.fromkeys(("SPARKTORCH_CLASS_ARCHIVE", "SPARKTORCH_WORKER_DAEMON", "SPARKTORCH_WARM_UP"), "off")
MAKER = [sys.executable, "-m", "sparktorch_assets.spark.session.startup.archive_maker"]

SESSION = """
import json, os, time
from sparktorch_assets.spark.session.start import start_session
from pyspark import SparkContext
from sparktorch_assets.spark.session.worker_pool import workers_for
began = time.monotonic()
spark = start_session(master="local[2]")
found = {"session": time.monotonic() - began}
java, ticks = SparkContext._gateway.proc.pid, os.sysconf("SC_CLK_TCK")
def run(batches):
    import time, torch
    import pyarrow as pa
    import sparktorch_assets.predict.model.torch_model
    list(batches)
    time.sleep(0.1)
    kilobytes = int(open("/proc/self/smaps_rollup").read().split("Pss:")[1].split()[0])
    yield pa.RecordBatch.from_pydict({"id": [kilobytes]})
with workers_for(spark, {}):
    rows = spark.range(0, 2, 1, 2).mapInArrow(run, "id bigint")
pss = max(row.id for row in rows.collect())
found["first job"] = time.monotonic() - began
found["Java's processor"] = sum(map(int, open(f"/proc/{java}/stat").read().rpartition(")")[2].split()[11:13])) / ticks
found["worker's PSS, MiB"] = pss / 1024
spark.stop()
print(json.dumps(found))
"""

REFRESH = """
import json, sys, time
from bench_score import TASK
from sparktorch_assets import score_table
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.session.start import start_session
source, target, models = sys.argv[1:]
began = time.monotonic()
spark = start_session(master="local[2]")
session = time.monotonic() - began
score_table(spark, source, TASK, output_table=target, model_loader=ModelLoader(models))
print(json.dumps({"refresh": time.monotonic() - began - session}))
spark.stop()
"""

RUN = """
import contextlib, json, os, sys, time
began = time.monotonic()
import sparktorch_assets.orchestration.commands.run as command
if os.environ.get("SPARKTORCH_WARM_UP") == "off":
    command.open_databases = contextlib.nullcontext
printed, sys.stdout, sys.stderr = sys.stdout, open(os.devnull, "w"), open(os.devnull, "w")
failed = command.main(["sparktorch_assets.definitions"])
print(json.dumps({sys.argv[1]: time.monotonic() - began, "failed": failed}), file=printed)
"""


def measured(program: str, *arguments: str, environment: dict[str, str], folder: Path = ROOT) -> dict[str, float]:
    """What the program prints, with the processor seconds of it and of the processes that it has waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout.splitlines()[-1]), "processor": processor}


def project(folder: Path) -> Path:
    """A copy of the sample project without its tables and runs."""
    (folder / "data").mkdir(parents=True)
    for path in (ROOT / "data").iterdir():
        if path.name != "lake":
            (folder / "data" / path.name).symlink_to(path)
    for name in ("sparktorch_assets", "dg.toml", "workspace.yaml", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def one_round(scratch: Path, environment: dict[str, str], source: Path, *, with_run: bool) -> dict[str, float]:
    """All measurements of one way, once."""
    scratch.mkdir()
    found = measured(SESSION, environment=environment)
    table, models = str(scratch / "table"), str(source.parent)
    found |= measured(REFRESH, str(source), table, models, environment=environment)
    if with_run:
        folder = project(scratch / "project")
        for name in ("run", "again"):
            found |= measured(RUN, name, environment=environment, folder=folder)
            if found["failed"]:
                sys.exit(f"the sample project's {name} failed")
            found[f"{name}, processor"] = found["processor"]
    return {name: value for name, value in found.items() if name not in ("failed", "processor")}


def main() -> None:
    """Measure, print a table, and end with a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--without-run", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
        common = {
            **os.environ,
            "PYTHONPATH": paths,
            "XDG_CACHE_HOME": str(scratch / "cache"),
            "SPARKTORCH_PROJECT_ROOT": "",
        }
        began = time.monotonic()
        subprocess.run(MAKER, env=common, check=True, capture_output=True)
        made_s = time.monotonic() - began
        (archive,) = (scratch / "cache").rglob("*.jsa")
        print(f"the archive has {archive.stat().st_size >> 20} MiB and was made in {made_s:.0f} s\n")
        source = scratch / "source"
        make_source(source, given.rows)
        ways = {"plain": {**common, **PLAIN}, "sooner": common}
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for number in range(given.repeats):
            for way, environment in ways.items():
                where = scratch / f"{way}-{number}"
                found[way].append(one_round(where, environment, source, with_run=not given.without_run))
        rows = {}
        print(f"{'':20s}{'plain':>10s}{'sooner':>10s}{'ratio':>10s}")
        for name in found["plain"][0]:
            pairs = [(plain[name], sooner[name]) for plain, sooner in zip(found["plain"], found["sooner"], strict=True)]
            plain, sooner = (statistics.median(side) for side in zip(*pairs, strict=True))
            rows[name] = {"plain": plain, "sooner": sooner, "ratio": statistics.median(b / a for a, b in pairs)}
            print(f"{name:20s}{plain:10.2f}{sooner:10.2f}{rows[name]['ratio']:10.2f}")
    print(json.dumps({"archive_made_s": made_s, **rows}))


if __name__ == "__main__":
    main()
