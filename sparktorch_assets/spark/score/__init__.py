"""Prediction tables: shards handed to workers, and one commit."""
