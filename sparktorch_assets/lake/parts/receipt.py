"""The receipt in a part's Parquet footer: which shard the part belongs to, and what happened to that shard's rows."""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from sparktorch_assets.tally import Tally

RECEIPT_KEY = b"sparktorch_assets.receipt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A part's fingerprint, counts and columns with NaN, as stored in its footer."""

    fingerprint: str
    rows: int
    """Number of rows in the part."""
    tally: Tally = field(default_factory=Tally)
    nan_columns: tuple[str, ...] = ()
    """Floating-point columns that hold a NaN."""

    def to_plain(self) -> dict[str, Any]:
        """The receipt as a dict of plain values, for JSON."""
        return {
            "fingerprint": self.fingerprint,
            "rows": self.rows,
            "tally": self.tally.to_plain(),
            "nan_columns": list(self.nan_columns),
        }

    def to_json(self) -> str:
        """The receipt as one line of JSON."""
        return json.dumps(self.to_plain(), separators=(",", ":"))

    @classmethod
    def from_plain(cls, plain: Any) -> Self:
        """The receipt that `to_plain` returned.

        Raises:
            ValueError: the value is not a receipt.
        """
        try:
            return cls(
                fingerprint=plain["fingerprint"],
                rows=plain["rows"],
                tally=Tally.from_plain(plain["tally"]),
                nan_columns=tuple(plain["nan_columns"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a part's receipt: {plain!r:.200}") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse a receipt that `to_json` wrote.

        Raises:
            ValueError: the text is not a receipt.
        """
        return cls.from_plain(json.loads(text))
