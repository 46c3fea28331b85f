"""Refreshes one table again and again in one session, with random changes and faults in between: `make soak` does so 200
times, in less than a quarter of an hour on two idle cores.

After every refresh, the table's rows are those of the reference. Over the second half of the refreshes, what the processes
take stays flat: memory, open files, threads and processes. Ends with 1 if it does not, or if a row is wrong.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

sys.path.append(str(Path(__file__).parents[1]))  # what all tests share; pytest does the same
import readers
import reference
from deltalake import DeltaTable
from drawn_sources import FolderSource
from drawn_tables import Column, Form
from drawn_tasks import LABELS, Code, write_weights
from lone_files import lone_file

from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import BatchPolicy, Hooks, MlTask, ModelSpec, NumericFeature, SlotPolicy
from sparktorch_assets.testing.faults import Killed, at_step, die, killing, live_files, python_workers

HELD = [
    Column(name="id", kind="int64", physical=pa.int64()),
    Column(name="a", kind="float64", physical=pa.float64()),
    Column(name="b", kind="float64", physical=pa.float64()),
]
FORM = Form(group_rows=8, always=frozenset({"id", "a", "b"}))
FILES = [lone_file(f"file{number}") for number in range(8)]
"""Each is a shard."""
EDITED = ("network", "hooks")
"""Modules of which there are two versions, so that there are four pools of workers."""
TASK = MlTask(
    name="soaked",
    input="drawn",
    model=ModelSpec(
        weights="net.safetensors", architecture="fuzz_network:Net", arguments={"groups": ["dense"], "embeds": False}
    ),
    features=[NumericFeature(columns=["a", "b"])],
    labels=LABELS,
    batch=BatchPolicy(batch_size=8),
    hooks=Hooks(row_preprocessor="fuzz_hooks:changes", row_postprocessor="fuzz_hooks:adds"),
    hook_columns={"extra": "string", "half": "double"},
    max_failed_share=1.0,
)
TOLERATED = 0.10
"""The share by which a figure may have grown over the second half, according to a line through it ..."""
SLACK = {"memory_mib": 24.0, "files": 6.0, "threads": 6.0, "processes": 2.0}
"""... or this much, whichever is more."""

_POOLED = ("block-manager-", "tokio-rt-worker")
"""Beginnings of the names of threads that do not count. Spark's pools of block-manager threads grow to 128 each whether or
not some are idle, and a thread ends after an idle minute; those of delta-rs end after ten idle seconds."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the driver and Spark's processes take."""

    memory_mib: float
    """Of the driver and its JVM, which last (proportional set size)."""
    worker_mib: float
    """Of a Python worker, in the middle; 0 if there is none."""
    files: float
    """Those that the driver and its JVM have open."""
    threads: float
    """Without those of pools that grow and shrink by themselves."""
    processes: float


class Soak:
    """One table and its history."""

    def __init__(self, root: Path, spark: Any, seed: int) -> None:
        self.root, self.spark, self.random = root, spark, random.Random(seed)
        self.source = FolderSource(root / "in", HELD, hive=False)
        self.table = root / "table"
        self.code = Code(
            folder=root / "code", changed=("a",), versions={"maths": 1, "network": 1, "rules": 1, "hooks": 1}
        )
        self.code.write()
        self.next_id = 0
        self.change_weights()
        for name in FILES[:4]:
            self.put(name)

    def step(self) -> str:
        """Change something, refresh with or without a fault, refresh without any, and compare.

        Returns:
            What happened.
        """
        changes: dict[str, Callable[[], Any]] = {
            "nothing": lambda: None,
            "a file": lambda: self.put(self.random.choice(FILES)),
            "no file": self.delete,
            "an overwritten file": self.overwrite,
            "weights": self.change_weights,
            "code": self.edit,
            "a damaged part": self.damage,
            "a vacuum": lambda: self.table.exists() and vacuum(str(self.table), retention_hours=0),
        }
        weights = [1, 4, 2, 2, 2, 2, 1, 2]
        (what,) = self.random.choices(list(changes), weights)
        changes[what]()
        faults = {"": self.refresh, "a killed worker": self.kill_a_worker, "a killed driver": self.kill_the_driver}
        (fault,) = self.random.choices(list(faults), [3, 1, 1])
        faults[fault]()
        if fault:
            self.refresh()
        self.compare(what)
        return f"{what}, {fault}" if fault else what

    # What can happen

    def put(self, name: str) -> None:
        count = self.random.randint(1, 30)
        rows = [
            {"id": self.next_id + place, "a": self.random.choice([1.5, -2.25, 13.0, 0.5]), "b": float(place)}
            for place in range(count)
        ]
        self.next_id += count
        self.source.put(name, rows, FORM)

    def delete(self) -> None:
        if len(self.source.files) > 1:
            self.source.delete(self.random.choice(sorted(self.source.files)))

    def overwrite(self) -> None:
        self.next_id = self.source.overwrite(self.random.choice(sorted(self.source.files)), self.next_id)

    def change_weights(self) -> None:
        write_weights(self.root / "models" / "net.safetensors", self.random.randint(1, 3))

    def edit(self) -> None:
        which = self.random.choice(EDITED)
        self.code.versions[which] = 3 - self.code.versions[which]
        self.code.write()

    def damage(self) -> None:
        if self.table.exists():
            part = self.random.choice(live_files(str(self.table)))
            if self.random.random() < 0.5:
                part.unlink()
            else:  # a refresh notices another size by itself; another byte only when the part is read
                part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])

    def kill_a_worker(self) -> None:
        with killing(python_workers, seed=self.random.randrange(10**6), within_s=0.5):
            self.refresh()

    def kill_the_driver(self) -> None:
        with at_step(self.random.randrange(6), die):
            try:
                self.refresh()
            except (Killed, SparktorchError):
                return

    # How it is looked at

    def refresh(self) -> None:
        score_table(
            self.spark,
            str(self.source.root),
            TASK,
            output_table=str(self.table),
            model_loader=ModelLoader(self.root / "models", device="cpu"),
            slots=SlotPolicy(device="cpu"),
            on_progress=lambda _: None,
        )

    def compare(self, what: str) -> None:
        types = {column.name: column.arrow for column in HELD}
        rows = [{name: row[name] for name in types} for row in self.source.rows]
        due = reference.score(rows, types, TASK, self.root / "models", self.code.load)
        found = DeltaTable(str(self.table)).to_pyarrow_table()
        readers.compare_table(found, due.rows, found.schema, TASK, what)

    def taken(self) -> Taken:
        """What the processes take now."""
        here = psutil.Process()
        workers = [psutil.Process(pid) for pid in python_workers() if psutil.pid_exists(pid)]
        below = here.children(recursive=True)
        lasting = [here, *(one for one in below if one.name() == "java")]
        sizes = [size for one in workers if (size := _pss_mib(one)) is not None]
        return Taken(
            memory_mib=sum(_pss_mib(one) or 0.0 for one in lasting),
            worker_mib=statistics.median(sizes) if sizes else 0.0,
            files=sum(one.num_fds() for one in lasting),
            threads=sum(map(_threads, lasting)),
            processes=1 + len(below),
        )


def _pss_mib(process: psutil.Process) -> float | None:
    try:
        return process.memory_full_info().pss / 2**20
    except psutil.Error:  # it has just ended
        return None


def _threads(process: psutil.Process) -> int:
    names = []
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            names.append((thread / "comm").read_text())
    return sum(not name.startswith(_POOLED) for name in names)


def growth(values: list[float]) -> float:
    """How much the values have grown from their first to their last, by the line that fits them best."""
    slope, _ = np.polyfit(range(len(values)), values, 1)
    return float(slope * (len(values) - 1))


def grown(taken: list[Taken]) -> list[str]:
    """What has grown more than it may."""
    found = []
    for name in ("memory_mib", "worker_mib", "files", "threads", "processes"):
        values = [value for one in taken if (value := getattr(one, name))]
        if len(values) < 2:
            continue
        more, middle = growth(values), statistics.median(values)
        allowed = max(TOLERATED * middle, SLACK.get(name, 24.0))
        print(f"{name}: {middle:,.0f} in the middle, {more:+,.1f} over {len(values)} refreshes, {allowed:,.1f} allowed")
        if more > allowed:
            found.append(name)
    return found


def start(root: Path) -> Any:
    """A session whose workers import the code in that folder."""
    from sparktorch_assets.spark.session.start import start_session

    (root / "code").mkdir()
    sys.path.insert(0, str(root / "code"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root / "code"), os.environ.get("PYTHONPATH", "")])
    config = {"spark.driver.memory": "512m", "spark.ui.enabled": "false"}
    return start_session(master="local[2]", app_name="soak", config=config)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    began, taken = time.monotonic(), []
    spark = start(root)
    try:
        soak = Soak(root, spark, options.seed)
        for number in range(options.steps):
            what = soak.step()
            taken.append(soak.taken())
            print(f"{time.monotonic() - began:6.1f} s, refresh {number}: {what}; {taken[-1]}", flush=True)
        more = grown(taken[len(taken) // 2 :])
    finally:
        spark.stop()
        shutil.rmtree(root)
    print(f"{options.steps} refreshes in {time.monotonic() - began:,.0f} s, every row as the reference says")
    if more:
        print(f"grown: {', '.join(more)}")
    return 1 if more else 0


if __name__ == "__main__":
    sys.exit(main())
