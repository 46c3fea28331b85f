"""What a part says about itself, in its Parquet footer: which shard it is, and what happened to that shard's rows."""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from sparktorch_assets.tally import Tally

RECEIPT_KEY = b"sparktorch_assets.receipt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A part's own account of itself."""

    fingerprint: str
    rows: int
    """Rows in the part."""
    tally: Tally = field(default_factory=Tally)
    nan_columns: tuple[str, ...] = ()
    """Floating columns that hold a NaN."""

    def to_json(self) -> str:
        """The receipt as one line of JSON."""
        return json.dumps(
            {
                "fingerprint": self.fingerprint,
                "rows": self.rows,
                "tally": self.tally.to_plain(),
                "nan_columns": list(self.nan_columns),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The receipt that `to_json` gave.

        Raises:
            ValueError: the text is no receipt.
        """
        plain: Any = json.loads(text)
        try:
            return cls(
                fingerprint=plain["fingerprint"],
                rows=plain["rows"],
                tally=Tally.from_plain(plain["tally"]),
                nan_columns=tuple(plain["nan_columns"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a part's receipt: {text!r:.200}") from error
