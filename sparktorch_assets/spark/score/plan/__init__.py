"""What a refresh has to score, decided before any Spark job starts."""
