"""Tests import what they share (`laws`, `generated`) from this folder, from whichever folder below they are."""

from hypothesis import settings

# How long an example takes is the machine's business; those that hang are ended by pytest.
settings.register_profile("mrpy", deadline=None)
settings.load_profile("mrpy")
