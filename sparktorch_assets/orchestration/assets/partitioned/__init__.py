"""Assets with partitions: one run refreshes any number of them, and reports each on its own."""
