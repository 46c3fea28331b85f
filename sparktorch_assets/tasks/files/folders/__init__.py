"""Folders of transformers and of sentence-transformers: what their JSON files say, without code and weights."""
