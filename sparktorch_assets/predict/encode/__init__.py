"""Columns become tensors."""
