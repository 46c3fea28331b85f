"""How long this library waits for an S3 store, and how often it asks again.

Without this, a store that takes more than three seconds to answer counts as broken, and a request that fails is repeated
every 200 ms for six seconds, which a store that asks for fewer requests (503 Slow Down) takes ill.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow import fs

CONNECT_S = 5.0
"""Seconds until a connection has to be made."""
SILENT_S = 20.0
"""Seconds without a byte after which a connection counts as lost."""
ATTEMPTS = 6
"""How often a request is made before its error is raised: after it failed, it is repeated with pauses that double, with
a random part, from about half a second on. While many requests fail, the AWS SDK gives up earlier."""


def patient(filesystem: "fs.FileSystem") -> "fs.FileSystem":
    """A file system that differs in its patience alone; one that is not S3 as it is.

    It uploads small files with one request each: such a file is opened when it is closed.
    """
    from pyarrow import fs

    if not isinstance(filesystem, fs.S3FileSystem):
        return filesystem
    remake, (settings, *rest) = filesystem.__reduce__()
    settings |= {
        "connect_timeout": CONNECT_S,
        "request_timeout": SILENT_S,
        "allow_delayed_open": True,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    }
    made: fs.FileSystem = remake(settings, *rest)
    return made
