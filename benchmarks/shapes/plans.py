"""Plans: what is read before the first row is. Nothing is scored here."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from shapes import library
from shapes.floats import rows_of, task, write
from shapes.shape import ProcessShape, Shape, Taken, Target, Way
from shapes.store import BUCKET
from shapes.store import SlowStore as Store

THREADS = 32
_TAIL_BYTES = 64 << 10


class OnStore(Shape):
    """Files on a store that is a process on this machine."""

    latency_s: ClassVar[float]
    files: ClassVar[int]
    store: Store

    def prepare(self) -> None:
        """Many names for few rows; each file has other bounds in its footer."""
        for number in range(self.sized(self.files, 20)):
            rows = rows_of(10, seed=number, first=10 * number)
            day = pa.array([f"2026-01-{1 + (number + row) % 10:02}" for row in range(10)])
            write(rows.append_column("day", day), self.folder / "source" / "all" / f"{number:06}.parquet")
        write(rows_of(10), self.folder / "source" / "few" / "0.parquet")
        self.store = Store(self.folder / "source", self.latency_s)
        self.rounds = count()
        library.plan(f"s3://{BUCKET}/warm-up/few", task(), self.folder / "target")  # the store's client starts once

    def close(self) -> None:
        """End the store."""
        self.store.close()

    def once(self, way: Way) -> Taken:
        """Count requests, too. Each go has a prefix of its own, which no cache knows."""
        self.source = f"{BUCKET}/{next(self.rounds)}/all"
        before = self.store.requests
        taken = super().once(way)
        return Taken(seconds=taken.seconds, result=taken.result, requests=self.store.requests - before)

    def footers(self) -> list[pq.FileMetaData]:
        """Every footer, with one request each."""

        def one(name: str) -> pq.FileMetaData:
            tail = self.store.get(f"/{self.source}/{name}", f"bytes=-{_TAIL_BYTES}")
            return pq.read_metadata(pa.BufferReader(tail))

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, [path.name for path in sorted((self.folder / "source" / "all").iterdir())]))


class SlowStore(OnStore):
    """D."""

    letter = "D"
    name = "a plan of 2,000 files on a store with 10 ms per request"
    floor_is = "one request per footer, over 32 threads"
    target = Target(ratio=1.5, requests=2_010)
    latency_s = 0.010
    rounds_at_most = 1  # the count does not vary, and with several requests per file one round takes long
    files = 2_000

    def ours(self) -> int:
        """Plan; the rows that it found."""
        return int(library.plan(f"s3://{self.source}", task(), self.folder / "target").rows)

    def floor(self) -> int:
        """Read footers; the rows in them."""
        return sum(int(footer.num_rows) for footer in self.footers())


class Backfill(OnStore):
    """E. A partition is planned by each of ten runs of one process, as a backfill without a policy does."""

    letter = "E"
    name = "plans of 10 partitions over 1,000 files"
    floor_is = "one request per footer, over 32 threads, once for all partitions"
    target = Target(ratio=None, requests=1_100)
    latency_s = 0.0  # requests are counted; their time is D's
    rounds_at_most = 1  # see D
    files = 1_000

    def ours(self) -> int:
        """Plan each partition; the rows of the files that may hold some of it, each counted in one partition."""
        days = [f"2026-01-{day:02}" for day in range(1, 11)]
        plans = [
            library.plan(f"s3://{self.source}", task(), self.folder / "target", partition={"day": day}) for day in days
        ]
        return sum(int(plan.rows) for plan in plans) // len(days)

    def floor(self) -> int:
        """Read footers; the rows in them."""
        return sum(int(footer.num_rows) for footer in self.footers())


class ManyFiles(Shape):
    """F. Footers are remembered; what is counted is whether a plan reads any again."""

    letter = "F"
    name = "a second plan of 20,000 files in one process"
    floor_is = "every footer read once by pyarrow, over 32 threads"
    target = Target(requests=200)

    def prepare(self) -> None:
        """One file under many names."""
        source = self.folder / "source"
        write(rows_of(10), source / "000000.parquet")
        for number in range(1, self.sized(20_000, 20)):
            shutil.copyfile(source / "000000.parquet", source / f"{number:06}.parquet")

    def once(self, way: Way) -> Taken:
        """Count calls that read, of all threads."""
        before = _read_calls()
        taken = super().once(way)
        return Taken(seconds=taken.seconds, result=taken.result, requests=_read_calls() - before)

    def ours(self) -> int:
        """Plan; the rows that it found. The round that warms up reads the footers."""
        return int(library.plan(str(self.folder / "source"), task(), self.folder / "target").rows)

    def floor(self) -> int:
        """Read every footer; the rows in them."""
        return rows_in_footers(self.folder / "source")


class WideFiles(ProcessShape):
    """M. In a process of its own, which knows no footer."""

    letter = "M"
    name = "the first plan of 500 files of 501 columns"
    floor_is = "every footer read once by pyarrow, over 32 threads, and the schemas compared"

    def prepare(self) -> None:
        """One file under many names, and a small table to warm up with."""
        source = self.folder / "source"
        write(rows_of(10, self.sized(500, 20)), source / "000.parquet")
        for number in range(1, self.sized(500, 5)):
            shutil.copyfile(source / "000.parquet", source / f"{number:03}.parquet")
        write(rows_of(10), self.folder / "small" / "0.parquet")

    def settle(self) -> None:
        """Import what a plan needs."""
        library.plan(str(self.folder / "small"), task(), self.folder / "target")
        rows_in_footers(self.folder / "small")

    def ours(self) -> int:
        """Plan; the rows that it found."""
        return int(library.plan(str(self.folder / "source"), task(), self.folder / "target").rows)

    def floor(self) -> int:
        """Read every footer; the rows in them."""
        return rows_in_footers(self.folder / "source", same_schema=True)


def rows_in_footers(source: Path, *, same_schema: bool = False) -> int:
    """The rows in the footers of a folder's files."""
    with ThreadPoolExecutor(THREADS) as pool:
        footers = list(pool.map(pq.read_metadata, source.iterdir()))
    if same_schema:
        first = footers[0].schema
        assert all(footer.schema.equals(first) for footer in footers)
    return sum(int(footer.num_rows) for footer in footers)


def _read_calls() -> int:
    text = Path("/proc/self/io").read_text()
    return int(dict(line.split(": ") for line in text.splitlines())["syscr"])
