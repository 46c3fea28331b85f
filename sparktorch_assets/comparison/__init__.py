"""Compares the predictions of two tasks, row by row and as a whole: a challenger's with its champion's.

Memory is bounded by a bucket of rows, whatever the size of the tables: see `buckets.py`.
"""
