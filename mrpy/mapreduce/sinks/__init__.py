"""Sinks: results into files, a part per task, all or nothing."""
