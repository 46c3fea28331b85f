"""The files that refreshes write."""
