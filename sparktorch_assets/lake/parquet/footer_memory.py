"""Keeps what was read of files, up to a number of bytes. Where that is not enough, an entry that chance picks gives way.

To forget the one that was used longest ago, as is usual, would be of no use here: a plan goes through all files in turn,
twice, and of more files than fit it would then find none the second time.
"""

import random
import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class FooterMemory(Generic[T]):
    """One entry a file."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._bytes = limit_bytes, 0
        self._entries: dict[str, tuple[T, int]] = {}
        self._order: list[str] = []
        """The entries' keys, so that one can be picked without looking at all."""
        self._lock = threading.Lock()

    def get(self, key: str) -> T | None:
        """The entry, if it is there."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def put(self, key: str, value: T, size_bytes: int) -> None:
        """Keep an entry of about this size, in place of an older one of the same key."""
        with self._lock:
            if key in self._entries:
                self._bytes -= self._entries[key][1]
            else:
                self._order.append(key)
            self._entries[key] = value, size_bytes
            self._bytes += size_bytes
            while self._bytes > self._limit_bytes:
                place = random.randrange(len(self._order))  # noqa: S311  (no secret hangs on it)
                self._order[place], self._order[-1] = self._order[-1], self._order[place]
                self._bytes -= self._entries.pop(self._order.pop())[1]
