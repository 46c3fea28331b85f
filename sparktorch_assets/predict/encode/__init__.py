"""Turns columns into tensors."""
