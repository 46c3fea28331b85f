"""Deals shards into packs, one pack a Spark task."""

import heapq
from collections.abc import Sequence

from sparktorch_assets.lake.shards import Shard

PACKS_PER_SLOT = 6
"""A task costs about 0.1 s whatever it does, so few; slots differ in speed, so some."""


def deal(shards: Sequence[Shard], slots: int) -> list[list[Shard]]:
    """The shards in at most `slots * PACKS_PER_SLOT` packs of about the same bytes, the largest pack first.

    Largest shards are dealt first, each to the lightest pack. Within a pack they stand in the order of the files, so that
    neighbours are read one after the other.
    """
    count = min(len(shards), max(1, slots) * PACKS_PER_SLOT)
    packs: list[list[Shard]] = [[] for _ in range(count)]
    lightest = [(0, number) for number in range(count)]
    for shard in sorted(shards, key=lambda shard: -shard.bytes):
        size, number = heapq.heappop(lightest)
        packs[number].append(shard)
        heapq.heappush(lightest, (size + shard.bytes, number))
    packs.sort(key=lambda pack: -sum(shard.bytes for shard in pack))
    return [sorted(pack, key=lambda shard: (shard.file.path, shard.first_group)) for pack in packs]
