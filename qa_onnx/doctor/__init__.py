"""Why something does not run here, and what to do: findings, facts, a trial of each engine.

May import: everything of the run time. Left out: printing (cli).
"""
