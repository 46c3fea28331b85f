"""The rows of a table's files: those of a shard, a count of a partition's, and the first few in order."""
