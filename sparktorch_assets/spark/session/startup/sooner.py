"""Creates a local session in whatever way starts soonest, and in the plain one if that fails."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sparktorch_assets.spark.session.java import JavaHome
from sparktorch_assets.spark.session.startup.class_archive import with_class_archive
from sparktorch_assets.spark.session.startup.preloaded_workers import with_preloaded_workers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)


def create_sooner(
    create: Callable[[Mapping[str, str]], "SparkSession"],
    settings: Mapping[str, str],
    given: Mapping[str, str],
    java: JavaHome | None,
) -> "SparkSession":
    """A session that maps its classes from an archive, and forks its workers from a process that has imported torch.

    Args:
        create: creates the session from settings.
        settings: all settings.
        given: those of them that are the user's.
        java: what the JVM will run on; `None` if it runs already.
    """
    plain = with_preloaded_workers(settings, given)
    sooner, archive = with_class_archive(plain, given, java)
    if archive is None:
        return create(plain)
    try:
        return create(sooner)
    except Exception:
        from pyspark import SparkContext

        if SparkContext._gateway is not None:  # noqa: SLF001  (the JVM runs, so its classes are not what failed)
            raise
        spark = create(plain)
        _LOG.warning("Java did not start with the class archive %s, but without it: the archive is deleted", archive)
        archive.unlink(missing_ok=True)
        return spark
