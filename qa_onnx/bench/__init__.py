"""Measurements: trials of engines in processes of their own, and pages with plots (extra `bench`)."""
