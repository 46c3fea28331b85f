"""Footers that a run keeps in a file for the next one."""
