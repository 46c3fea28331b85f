"""Which rows go through the network together."""
