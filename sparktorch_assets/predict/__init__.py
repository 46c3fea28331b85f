"""Record batches in, record batches out: the predictor over pyarrow and torch, without Spark or Dagster."""
