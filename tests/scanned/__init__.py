"""A package to scan, with decorated tasks."""
