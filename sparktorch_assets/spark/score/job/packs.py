"""Divides shards into packs, one pack per Spark task."""

import heapq
from collections.abc import Sequence

from sparktorch_assets.lake.shards import Shard

PACKS_PER_SLOT = 6
"""Few, because every task costs about 0.1 s; more than one, because slots differ in speed."""


def deal(shards: Sequence[Shard], slots: int, packs_per_slot: int = PACKS_PER_SLOT) -> list[list[Shard]]:
    """The shards in at most `slots * packs_per_slot` packs of about equal bytes, the largest pack first.

    This is LPT (longest processing time first) scheduling: the largest shards are assigned first, each to the lightest
    pack. For example, shards of 5, 4, 3 and 2 MB in two packs give (5, 2) and (4, 3). Within a pack, shards are in the
    order of the files, so that adjacent row groups are read one after the other.
    """
    count = min(len(shards), max(1, slots) * packs_per_slot)
    packs: list[list[Shard]] = [[] for _ in range(count)]
    lightest = [(0, number) for number in range(count)]
    for shard in sorted(shards, key=lambda shard: -shard.bytes):
        size, number = heapq.heappop(lightest)
        packs[number].append(shard)
        heapq.heappush(lightest, (size + shard.bytes, number))
    packs.sort(key=lambda pack: -sum(shard.bytes for shard in pack))
    return [sorted(pack, key=lambda shard: shard.place) for pack in packs]
