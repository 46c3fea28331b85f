"""Dagster: resources, components, and the one factory that turns declarations into assets."""
