"""Decides which rows go through the network together."""
