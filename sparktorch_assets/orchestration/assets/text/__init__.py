"""Untrusted text on its way to a page, a log or a terminal."""
