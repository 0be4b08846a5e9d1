"""Tasks, keys, dependencies: when things run, and where. See README.md in this folder.

This package has never heard of map, reduce or iterators.
"""
