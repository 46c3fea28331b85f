"""One run of an asset: what can be set for it, what it says, and how it fails."""
