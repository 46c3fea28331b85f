"""Parts: the files that refreshes write."""
