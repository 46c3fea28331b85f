"""A cache of footers with a limit in bytes, which grows with the tables that are planned. When it is full, randomly
chosen entries are evicted.

LRU eviction would be of no use here: a plan reads all files in order, twice, and if they do not all fit, the second
pass would find none of them.
"""

import random
import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class FooterMemory(Generic[T]):
    """A thread-safe cache with one entry per file."""

    def __init__(self, limit_bytes: int, *, most_bytes: int) -> None:
        """An empty cache.

        Args:
            limit_bytes: how much it holds at first.
            most_bytes: how much it may hold for a table that needs more.
        """
        self._first_bytes = self._limit_bytes = limit_bytes
        self._most_bytes, self._bytes = most_bytes, 0
        self._entries: dict[str, tuple[T, int]] = {}
        self._order: list[str] = []
        """The entries' keys, from which one can be chosen in constant time."""
        self._lock = threading.Lock()

    def get(self, key: str) -> T | None:
        """The entry of that key; `None` if there is none."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def reserve(self, size_bytes: int) -> None:
        """Let the cache hold this much besides what it holds at first, up to its bound. It does not shrink again."""
        with self._lock:
            self._limit_bytes = min(max(self._limit_bytes, self._first_bytes + size_bytes), self._most_bytes)

    def put(self, key: str, value: T, size_bytes: int) -> None:
        """Add an entry of about this size, replacing one of the same key."""
        with self._lock:
            if key in self._entries:
                self._bytes -= self._entries[key][1]
            else:
                self._order.append(key)
            self._entries[key] = value, size_bytes
            self._bytes += size_bytes
            while self._bytes > self._limit_bytes:
                place = random.randrange(len(self._order))  # noqa: S311  (not used for security)
                self._order[place], self._order[-1] = self._order[-1], self._order[place]
                self._bytes -= self._entries.pop(self._order.pop())[1]
