"""Measure speed and accuracy: contenders in alternating processes, tuning, and reports with plots (extra `bench`).

May import: everything of the run time, export, doctor, appearance. Left out: rivals of other projects
(benchmarks/).
"""
