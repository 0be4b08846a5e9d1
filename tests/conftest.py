"""Tests import what they share (`laws`, `generated`) from this folder, from whichever folder below they are."""
