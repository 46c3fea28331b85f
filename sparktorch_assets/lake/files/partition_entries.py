"""Lists the files of some of a table's partitions."""

from collections.abc import Collection, Iterator

from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.files.partition_values import Partition, partition_folder

_FEW = 8
"""From this number of partitions on, listing the whole table once costs less than listing each of their folders."""


def partition_entries(folder: Folder, partitions: Collection[Partition]) -> Iterator[FolderEntry]:
    """The files that lie in the folders of the partitions, and possibly others of the table.

    Args:
        folder: the table's folder.
        partitions: the partitions; `()` stands for the whole of a table without any.
    """
    if len(partitions) > _FEW:
        yield from folder.files()
    for partition in partitions if len(partitions) <= _FEW else ():
        yield from folder.files(partition_folder(partition), recursive=False)
