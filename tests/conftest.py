"""Tests import what they share (`laws`, `generated`) from this folder, from whichever folder below they are."""

from hypothesis import settings

# How long an example takes is the machine's business; tests that hang have deadlines of their own.
settings.register_profile("mrpy", deadline=None)
settings.load_profile("mrpy")
