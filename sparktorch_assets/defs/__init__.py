"""The sample project: declarations only."""
