"""Where Spark reads an input table's source files."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder, read_threads
from sparktorch_assets.spark.inputs.sources import SourceFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_CHUNK_BYTES = 8 << 20


@contextmanager
def places_of(spark: "SparkSession", sources: Sequence[SourceFile]) -> Iterator[Mapping[str, SourceFile]]:
    """Local path, or URI for Spark -> source.

    Objects are copied into a temporary folder for the time of the block, if Spark runs on this host: its own readers need
    a jar for each kind of store. On a cluster, they have to read them.

    Raises:
        TableError: an object is gone, or changes while it is copied.
        OSError: the store cannot be reached.
    """
    objects = [source for source in sources if source.uri]
    local = {str(source.path): source for source in sources if not source.uri}
    if not objects or not (spark.conf.get("spark.master", "") or "").startswith("local"):
        yield local | {_hadoop_uri(source.uri): source for source in objects}
        return
    with tempfile.TemporaryDirectory(prefix="sparktorch_sources-") as folder:
        copies = {Path(folder, f"{number}-{PurePosixPath(urlsplit(source.uri).path).name}"): source
                  for number, source in enumerate(objects)}  # fmt: skip
        with ThreadPoolExecutor(read_threads(is_local=False)) as pool:
            list(pool.map(_copy, copies.values(), copies))
        yield local | {str(path): source for path, source in copies.items()}


def _copy(source: SourceFile, path: Path) -> None:
    try:
        with Folder(source.uri).open_input() as content, path.open("wb") as sink:
            shutil.copyfileobj(content, sink, _CHUNK_BYTES)
    except FileNotFoundError:
        pass
    if not path.exists() or path.stat().st_size != source.seen.size_bytes:
        raise TableError(
            f"{source.uri} was rewritten or deleted while it was copied. Nothing was committed; run again once it is complete"
        )


def _hadoop_uri(uri: str) -> str:
    """The object's URI as Spark spells it, with nothing encoded. Hadoop's scheme for S3 is `s3a`."""
    scheme, _, path = uri.partition("://")
    return f"{'s3a' if scheme == 's3' else scheme}://{unquote(path)}"
