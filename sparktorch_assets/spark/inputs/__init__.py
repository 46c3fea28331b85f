"""Input tables: source files that Spark reads into a Delta table with declared types."""
