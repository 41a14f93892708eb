"""Predictions -> EM, F1 and whether a reader still answers as it did.

May import: the files of the root, bundle, data. Left out: the gate that keeps a worse precision out (export).
"""
