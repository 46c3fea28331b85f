"""Declarations in YAML."""
