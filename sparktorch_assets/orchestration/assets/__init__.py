"""What a declaration becomes in Dagster: assets, checks, metadata."""
