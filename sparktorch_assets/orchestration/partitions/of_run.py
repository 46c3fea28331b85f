"""The partitions that a run is for."""

import dagster as dg

from sparktorch_assets.errors import TaskError


def partitions_of(context: dg.AssetExecutionContext, asset: dg.AssetKey) -> tuple[str, ...]:
    """The keys of the partitions that the run is for, in Dagster's order.

    Raises:
        TaskError: the run names none.
    """
    if not (context.has_partition_key or context.has_partition_key_range):
        raise TaskError(
            f"asset {asset.to_user_string()!r} is divided into partitions, and this run names none. In the UI, choose them "
            f"when you materialize the asset; on the command line, write {retry_command(asset, '<key>')}, or "
            f"--partition-range '<first>...<last>'"
        )
    return tuple(context.partition_keys)


def retry_command(asset: dg.AssetKey, partition: str) -> str:
    """The command that materializes one partition of an asset."""
    return f"""dg launch --assets 'key:"{asset.to_user_string()}"' --partition '{partition}'"""


def retry_of(context: dg.AssetExecutionContext, asset: dg.AssetKey) -> str:
    """The command that materializes the asset again, with the partitions of this run."""
    divided = context.assets_def.partitions_def is not None  # else the partitions are those of other assets of the run
    if divided and context.has_partition_key:
        return retry_command(asset, context.partition_key)
    command = f"""dg launch --assets 'key:"{asset.to_user_string()}"'"""
    if divided and context.has_partition_key_range:
        first, last = context.partition_key_range.start, context.partition_key_range.end
        return f"{command} --partition-range '{first}...{last}'"
    return command
