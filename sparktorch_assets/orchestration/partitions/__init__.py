"""What declared partitions are in Dagster."""
