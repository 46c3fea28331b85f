"""Lists, plans, writes and commits tables as files, with pyarrow and deltalake, without Spark, torch or Dagster."""
