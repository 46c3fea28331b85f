"""Names of small files that do not share a shard with their neighbours, for tests that follow each file's part."""

from sparktorch_assets.lake.cut.small_files import FILES, hash_of_path


def lone_file(name: str) -> str:
    """A name that begins like this one, of a file after which a shard ends. If all files of a table have such names, each
    of them has shards of its own, however small it is.

    `name` is the file's path in the table, without its ending.
    """
    numbered = (f"{name}-{number}.parquet" for number in range(10_000))
    return next(path for path in numbered if hash_of_path(path) < 1 / FILES)
