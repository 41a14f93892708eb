"""Measurements: contenders in processes of their own, which take turns, and pages with plots (extra `bench`).

May import: everything of the run time, export, doctor. Left out: rivals of other projects (benchmarks/).
"""
