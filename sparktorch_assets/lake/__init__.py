"""Tables as files: listing, planning, writing, committing. pyarrow and deltalake; no Spark, no torch, no Dagster."""
