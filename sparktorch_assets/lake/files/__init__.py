"""The files of a table: its folder, the files in it, and what their paths say."""
