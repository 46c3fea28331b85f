"""The path of a table's folder in the form that Spark expects."""

from sparktorch_assets.lake.files.folder import Folder


def spark_path(folder: Folder, path: str) -> str:
    """`path`, relative to the folder, as a URI for Spark's writers. Hadoop's scheme for S3 is `s3a`."""
    full = folder.full(path)
    if folder.is_local:
        return f"file://{full}"
    scheme = folder.uri.partition("://")[0]
    return f"{'s3a' if scheme == 's3' else scheme}://{full}"
