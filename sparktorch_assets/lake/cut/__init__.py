"""How the rows of a table's files are divided into shards."""
