"""Predictions -> EM and F1; and checks that a bundle gives the same logits on this machine as at export.

May import: the files of the root, bundle, data. Left out: the gate that keeps a worse precision out (export).
"""
