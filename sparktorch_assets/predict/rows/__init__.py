"""Converts rows between Python and Arrow, filters them, and applies users' hooks to them."""
