"""The version, by itself: reading it must cost nothing."""

__version__ = "0.1.0"
