"""Scores rows again although nothing that fingerprints know of has changed, at somebody's request.

A part is never replaced by another one of its name: a reader may have it open, and earlier versions of the table list it.
The request therefore becomes part of the fingerprints, and each later commit records it, so that the parts stay valid.
A digest that was never requested again is not affected; so one partition can be scored again without the others.

A table from which parts are taken over may have scored them again as well. Its requests count where the table has none of
its own: the parts before them lie in its folder still, and may have been wrong.
"""

import json
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.digest import digest_of

RESCORED_KEY, TAKEN_OVER_KEY = "rescored", "rescored_elsewhere"
"""Keys of a commit's metadata: the requests for the table itself, and those of others that it has followed."""
MOST_REQUESTS = 1000
"""Each commit repeats all of them."""
_SHORT = 16


@dataclass(kw_only=True, slots=True)
class Rescoring:
    """The requests for a table: those that its last commit records, those of other tables, and the present one.

    Each is kept under the beginning of the digest that was to be scored again, and only the last one of a digest counts. A
    request for the table itself comes before those of others.
    """

    request: str
    """The name of the present request; empty if there is none."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """The requests for the table itself."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Those for the tables from which parts are taken over, and those that this table has followed."""
    made: dict[str, str] = field(default_factory=dict)
    """The present request, by digest."""
    followed: dict[str, str] = field(default_factory=dict)
    """The requests for other tables that the plan follows."""

    @classmethod
    def of(cls, metadata: Mapping[str, str], request: str, others: Iterable[Mapping[str, str]] = ()) -> "Rescoring":
        """The requests.

        Args:
            metadata: that of the table's last commit.
            request: the name of the present request; empty if there is none.
            others: the metadata of the last commits of the tables from which parts are taken over.
        """
        elsewhere = ChainMap(*(_requests(other, RESCORED_KEY) for other in others), _requests(metadata, TAKEN_OVER_KEY))
        return cls(request=request, recorded=_requests(metadata, RESCORED_KEY), elsewhere=elsewhere)

    def digest(self, digest: str) -> str:
        """The digest that fingerprints are made of, given the one of everything that predictions depend on.

        Raises:
            TaskError: there are too many requests.
        """
        short = digest[:_SHORT]
        if self.request:
            self.made[short] = self.request
            if len(self.recorded.keys() | self.made.keys()) > MOST_REQUESTS:
                raise TaskError(
                    f"rescore: {MOST_REQUESTS:,} partitions or models of this table have been scored again at request; change the "
                    f"task's code_version instead, which scores everything again"
                )
        found = self.request or self.recorded.get(short)
        if not found and short in self.elsewhere:
            found = self.followed[short] = self.elsewhere[short]
        return digest_of([digest, found]) if found else digest

    def metadata(self, last: Mapping[str, str]) -> dict[str, str]:
        """What the next commit has to record.

        Args:
            last: the metadata of the commit that it follows, which another run may have made since the plan.
        """
        kept = {RESCORED_KEY: self.made, TAKEN_OVER_KEY: self.followed}
        requests = {key: _requests(last, key) | own for key, own in kept.items()}
        return {key: json.dumps(found) for key, found in requests.items() if found}


def _requests(metadata: Mapping[str, str], key: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(metadata.get(key, "{}"))
    return found
