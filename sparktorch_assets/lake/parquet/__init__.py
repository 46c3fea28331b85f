"""Parquet files: footers, statistics, types and columns."""
