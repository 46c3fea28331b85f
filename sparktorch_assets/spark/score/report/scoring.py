"""The figures of the run that last scored rows of a table, recorded in each commit.

A refresh with nothing to do has no speed and no device of its own, so it reports these.
"""

import json
import time
from dataclasses import asdict, dataclass, field

from sparktorch_assets.lake.table import Table

SCORING_KEY = "scoring"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """How rows were scored, and when."""

    rows: int
    """Input rows that the run scored."""
    seconds: dict[str, float]
    """Wall-clock seconds per phase of the run: plan, session, score."""
    worker_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds per phase in the workers, summed over slots."""
    devices: tuple[str, ...] = ()
    slots: int
    balance: float | None = None
    """The busiest slot's seconds divided by the mean; `None` if that is not known."""
    run_id: str = ""
    at: float = field(default_factory=time.time)
    """The time of the run, in seconds since 1970."""

    @property
    def rows_per_s(self) -> float:
        """Input rows per second of the scoring phase."""
        seconds = self.seconds.get("score", 0.0)
        return self.rows / seconds if seconds else 0.0

    def to_json(self) -> str:
        """The figures as one line of JSON, for a commit's metadata."""
        return json.dumps(asdict(self))


def last_scoring(table: Table) -> Scoring | None:
    """The figures of the last run that scored rows of the table; `None` if no commit records them."""
    try:
        kept = json.loads(table.metadata[SCORING_KEY])
        return Scoring(**{**kept, "devices": tuple(kept["devices"])})
    except (KeyError, TypeError, ValueError):  # an older or newer version's commit
        return None
