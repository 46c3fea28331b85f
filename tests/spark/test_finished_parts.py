"""Results of a job: packed for the way to the driver and in its memory, and the same when they are looked at."""

import dataclasses
import random
import sys

import pytest

from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.publication import PartTallies
from sparktorch_assets.spark.score.job.finished_parts import FinishedParts
from sparktorch_assets.spark.score.job.result_rows import packed_rows, unpacked_lines
from sparktorch_assets.spark.score.job.row_cost import RowCost
from sparktorch_assets.spark.score.job.run import RunResult, take_in
from sparktorch_assets.spark.score.job.worker import ShardResult
from sparktorch_assets.tally import Tally


def result(number, partition=()):
    chance = random.Random(number)
    rows = chance.randrange(1, 1000)
    tally = Tally(
        rows=rows,
        predicted=rows,
        classes={"a\nb": rows},
        confidence_sum=chance.random(),
        seconds={phase: chance.random() for phase in ("load", "read", "forward", "write")},
        batch_sizes={str(chance.randrange(9999)): 1},
    )
    fingerprint = f"{chance.randrange(1 << 128):032x}"
    part = PartFile(
        path=f"part-{fingerprint}.parquet",
        size_bytes=number,
        modified_ms=chance.randrange(1 << 40),
        rows=rows,
        stats=f'{{"numRecords":{rows},"minValues":{{"id":"row-{chance.randrange(1 << 40)}"}}}}',
        partition=partition,
    )
    receipt = Receipt(fingerprint=fingerprint, rows=rows, tally=tally, nan_columns=("x",))
    return ShardResult(part=part, receipt=receipt, slot=f"host:{number % 3}", busy_s=0.25)


RESULTS = [result(number, (("ds", str(number % 2)),)) for number in range(150)]


def test_what_the_workers_send_arrives_in_few_rows():
    """All of it, with the sums of each partition; among the results may be what a row costs."""
    cost = RowCost(seconds=0.5, batch_rows=10)
    rows = list(packed_rows([*(found.to_json() for found in RESULTS), cost.to_json()]))
    assert len(rows) == 3
    taken = RunResult()
    take_in(taken, [{"result": row} for row in rows])
    assert taken.row_costs == [cost]
    assert dict(taken.parts) == {found.part.path: (found.part, found.receipt) for found in RESULTS}
    assert taken.busy_s == {f"host:{slot}": 12.5 for slot in range(3)}
    for day in range(2):
        expected = Tally.total(found.receipt.tally for found in RESULTS[day::2])
        assert taken.parts.tally((("ds", str(day)),)) == expected
    assert taken.parts.tally((("ds", "2"),)) == Tally()


def test_no_rows_for_no_results():
    assert list(packed_rows([])) == []
    assert unpacked_lines(next(packed_rows(["a", "b"]))) == [b"a", b"b"]


def test_parts_of_a_lost_job_join_those_that_were_sent():
    parts = FinishedParts()
    parts.add(RESULTS[0])
    parts.add_all({found.part.path: (found.part, found.receipt) for found in RESULTS[1:3]})
    assert len(parts) == 3
    assert parts[RESULTS[2].part.path] == (RESULTS[2].part, RESULTS[2].receipt)
    with pytest.raises(AssertionError):
        parts.add(RESULTS[1])  # would be counted twice


def test_a_part_takes_less_than_a_kilobyte():
    parts = FinishedParts()
    for found in RESULTS:
        parts.add(found)
    held = sys.getsizeof(parts._lines) + sum(map(sys.getsizeof, [*parts._lines, *parts._lines.values()]))
    assert held / len(RESULTS) < 1000


def test_an_audit_sees_the_tallies_of_new_parts_as_they_are():
    parts = FinishedParts()
    for found in RESULTS:
        parts.add(found)
    some = PartTallies(parts, [found.part.path for found in RESULTS[:5]])
    assert some == {found.part.path: found.receipt.tally for found in RESULTS[:5]}
    with pytest.raises(KeyError):
        some[RESULTS[5].part.path]
    assert dataclasses.is_dataclass(next(iter(some.values())))
