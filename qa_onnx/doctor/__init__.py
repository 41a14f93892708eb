"""Find out why something does not run on this machine, and what to do: findings, trials of engines, diagnosis.

May import: everything of the run time. Left out: printing (cli).
"""
