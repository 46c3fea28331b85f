"""Rows that have no prediction, and why."""
