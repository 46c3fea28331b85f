"""A table's folder as Spark names it."""

from sparktorch_assets.lake.folder import Folder


def spark_path(folder: Folder, path: str) -> str:
    """`path`, relative to the folder, as a URI for Spark's writers: Hadoop's name for S3 is `s3a`."""
    full = folder.full(path)
    if folder.is_local:
        return f"file://{full}"
    scheme = folder.uri.partition("://")[0]
    return f"{'s3a' if scheme == 's3' else scheme}://{full}"
