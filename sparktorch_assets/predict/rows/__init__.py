"""Rows in Python and in Arrow, and what users' hooks make of them."""
