"""Scores rows again although nothing that fingerprints know of has changed, at somebody's request.

A part is never replaced by another one of its name: a reader may have it open, and earlier versions of the table list it.
The request therefore becomes part of the fingerprints, and each later commit records it, so that the parts stay valid.
A digest that was never requested again is not affected; so one partition can be scored again without the others.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.digest import digest_of

RESCORED_KEY = "rescored"
MOST_REQUESTS = 1000
"""Each commit repeats all of them."""
_SHORT = 16


@dataclass(kw_only=True, slots=True)
class Rescoring:
    """The requests for a table: those that its last commit records, and the present one."""

    request: str
    """The name of the present request; empty if there is none."""
    recorded: dict[str, str] = field(default_factory=dict)
    """The beginning of a digest -> the name of the last request to score again what has it."""

    @classmethod
    def of(cls, metadata: Mapping[str, str], request: str) -> "Rescoring":
        """`metadata` is that of the table's last commit."""
        return cls(request=request, recorded=json.loads(metadata.get(RESCORED_KEY, "{}")))

    def digest(self, digest: str) -> str:
        """The digest that fingerprints are made of, given the one of everything that predictions depend on.

        Raises:
            TaskError: there are too many requests.
        """
        short = digest[:_SHORT]
        if self.request:
            self.recorded[short] = self.request
            if len(self.recorded) > MOST_REQUESTS:
                raise TaskError(
                    f"rescore: {MOST_REQUESTS:,} partitions or models of this table have been scored again at request; change the "
                    f"task's code_version instead, which scores everything again"
                )
        return digest_of([digest, self.recorded[short]]) if short in self.recorded else digest

    @property
    def metadata(self) -> dict[str, str]:
        """What the next commit has to record."""
        return {RESCORED_KEY: json.dumps(self.recorded)} if self.recorded else {}
