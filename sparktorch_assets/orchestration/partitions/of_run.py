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
