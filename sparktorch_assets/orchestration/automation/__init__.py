"""When assets are made again."""
