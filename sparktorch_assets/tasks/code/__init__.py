"""Users' code: where it is, what it imports, and its digests."""
