"""Spark schedules, Arrow moves: sessions, DataFrames and tables around the predictor."""
