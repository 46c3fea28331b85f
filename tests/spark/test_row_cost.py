"""From the cost of a row to the size of a shard."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.spark.score.job.row_cost import CostQuestion, CostWatch, RowCost, RowsAreCostly, ShardSeconds
from sparktorch_assets.tally import Tally

AIM = ShardSeconds()


def question(rows, largest=None, aim=AIM):
    return CostQuestion(rows=rows, largest_rows=largest or rows, aim=aim)


@pytest.mark.parametrize(
    ("seconds", "rows", "batch_rows", "shard_rows"),
    [
        (0.001, 60_000, 256, 1024),  # 60 s: shards of 1 s
        (0.001, 1_000_000, 256, 16_384),  # a 64th of 1,000 s
        (0.001, 10_000_000, 256, 16_384),  # no more than 20 s
        (10.0, 50_000, 8, 8),  # a batch, however long it takes
        (0.1, 1000, 50, 64),
        (1e-7, 4_000_000, 1024, 8_388_608),
    ],
)
def test_shards_take_a_64th_of_the_work_within_limits(seconds, rows, batch_rows, shard_rows):
    assert RowCost(seconds=seconds, batch_rows=batch_rows).shard_rows(rows, AIM) == shard_rows


@given(
    seconds=st.floats(1e-6, 100), rows=st.integers(1, 10**10), batch_rows=st.integers(1, 10**5),
    noise=st.floats(0.999, 1.001),
)  # fmt: skip
def test_a_shard_takes_as_long_as_it_should(seconds, rows, batch_rows, noise):
    found = RowCost(seconds=seconds, batch_rows=batch_rows).shard_rows(rows, AIM)
    assert found & (found - 1) == 0
    assert found >= batch_rows
    again = RowCost(seconds=seconds * noise, batch_rows=batch_rows).shard_rows(rows, AIM)
    assert again in (found // 2, found, found * 2)
    if found > 2 * batch_rows:
        assert AIM.least / 1.5 <= found * seconds <= AIM.most * 1.5


@pytest.mark.parametrize(
    ("rows", "largest", "seconds", "too_long"),
    [
        (60_000, 60_000, 0.001, True),
        (7_000, 7_000, 0.001, False),  # not for seven seconds
        (4_000_000, 250_000, 2e-6, False),
        (10_000_000, 500_000, 0.0001, True),
        (640_000, 10_000, 0.001, False),  # 64 shards of 10 s are as they should be
        (100, 40, 1.0, False),  # of batches of 32 rows
    ],
)
def test_only_shards_that_take_long_and_can_be_divided_are_cut_anew(rows, largest, seconds, too_long):
    assert question(rows, largest).too_long(RowCost(seconds=seconds, batch_rows=32)) is too_long


def watched(asked, **counts):
    """Whether a pack ends early: batches of 10 rows, 0.05 s after each other."""
    tally = Tally(rows=1000, **counts)
    watch = CostWatch(asked, [tally])
    watch.look()
    for _ in range(4):
        time.sleep(0.05)
        tally.batch_sizes["10"] = tally.batch_sizes.get("10", 0) + 1
        try:
            watch.look()
        except RowsAreCostly as found:
            return watch, found.cost
    return watch, None


def test_rows_that_are_left_out_cost_nothing():
    aim = ShardSeconds(watched=0.01, too_long=1.0)
    _, cost = watched(question(10**6, aim=aim))
    _, less = watched(question(10**6, aim=aim), filtered=4000, outside=5000)
    assert 0.005 <= cost.seconds < 0.05
    assert 0.0005 <= less.seconds < 0.005
    assert cost.batch_rows == 10


def test_a_process_answers_once_for_all_packs_of_a_job():
    aim = ShardSeconds(watched=0.01, too_long=1.0)
    costly, cheap = question(10**6, aim=aim), question(100, aim=aim)
    assert CostWatch(costly, []).found is None
    watched(costly)
    assert CostWatch(costly, []).found
    assert watched(costly)[1] is None  # would end before the first row
    watch, cost = watched(cheap)
    assert cost is None
    assert watch.found is None
    assert CostWatch(None, []).found is None


def test_a_model_that_takes_its_time_for_the_first_batch_alone_is_not_slow():
    watch, cost = watched(question(10**6, aim=ShardSeconds(watched=10.0)))
    assert cost is None
    assert watch.found is None


def test_a_cost_is_one_line():
    cost = RowCost(seconds=0.5, batch_rows=8)
    assert RowCost(**json.loads(cost.to_json())["row_cost"]) == cost


def paced(*seconds, read=None, dropped=0, drops_predicted=False):
    """The cost that is found from batches of 10 rows that take this long, each after a read of `read` seconds."""
    tally = Tally(rows=1000, dropped=dropped)
    asked = question(10**6, aim=ShardSeconds(watched=0.01, too_long=0.001, least=0.001))
    watch = CostWatch(asked, [tally], drops_predicted=drops_predicted)
    for taken in seconds:
        time.sleep(taken)
        if read:
            tally.spend("read", read)
        tally.batch_sizes["10"] = tally.batch_sizes.get("10", 0) + 1
        try:
            watch.look()
        except RowsAreCostly as found:
            return found.cost.seconds
    return None


def test_a_second_batch_for_which_a_network_is_compiled_again_does_not_count():
    assert paced(0.02, 0.5, 0.02, 0.02) < 0.02


def test_time_that_goes_to_reading_does_not_count():
    """Smaller shards would have more to read, since each of them decodes the rows before its own."""
    assert paced(0.05, 0.05, 0.05, 0.05, read=0.045) < 0.003


def test_rows_that_are_dropped_once_they_are_predicted_cost_as_much_as_others():
    assert paced(0.05, 0.05, 0.05, 0.05, dropped=1000, drops_predicted=True) >= 0.005


def test_every_pack_that_is_left_undone_tells_the_cost():
    """The results of the pack that found it are lost if another worker dies before the end of the job."""
    asked = question(10**6, aim=ShardSeconds(watched=0.01, too_long=1.0))
    _, cost = watched(asked)
    assert CostWatch(asked, []).found == cost
