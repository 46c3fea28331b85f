"""What the sensor remembers of an asset's files from tick to tick: two digests, however many files there are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

SETTLED_SECONDS = 10.0
"""Files of which one was written this recently may not be complete yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """An asset's files, as a tick sees them."""

    digest: str
    """Changes when a file is new, changed or gone."""
    files: int
    newest: float = 0.0
    """When one of them was last changed, in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What is remembered of an asset."""

    seen: str = ""
    """The digest at the last tick."""
    asked: str = ""
    """The digest for which a run was last requested."""
    requests: int = 0
    """How many runs were requested. It makes their keys differ if the files are as they once were."""

    def asks(self, seen: Seen, now: float) -> bool:
        """Whether the files are other ones than at the last request, and complete: none was changed since the last tick,
        or within the last seconds."""
        just_written = 0 <= now - seen.newest < SETTLED_SECONDS  # a time in the future says nothing
        return self.asked != seen.digest == self.seen and not just_written

    def after(self, seen: Seen, *, asked: bool) -> "Memory":
        """What to remember of a tick."""
        if not asked:
            return replace(self, seen=seen.digest)
        return Memory(seen=seen.digest, asked=seen.digest, requests=self.requests + 1)


def memories_of(cursor: str | None) -> dict[str, Memory]:
    """Asset -> what is remembered of it."""
    stored = json.loads(cursor) if cursor else {}
    return {
        asset: Memory(seen=seen, asked=asked, requests=requests) for asset, (seen, asked, requests) in stored.items()
    }


def as_cursor(memories: Mapping[str, Memory]) -> str:
    """The memories as the text that Dagster keeps."""
    return json.dumps({asset: [memory.seen, memory.asked, memory.requests] for asset, memory in memories.items()})
