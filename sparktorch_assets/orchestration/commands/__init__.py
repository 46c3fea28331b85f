"""The commands behind `make run` and `make dev`."""
