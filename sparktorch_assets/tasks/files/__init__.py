"""Users' files: their identity, their digests, and whether they may run code."""
