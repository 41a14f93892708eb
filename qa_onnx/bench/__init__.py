"""Measurements made visible; needs the extra `bench`."""
