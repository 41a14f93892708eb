"""A question and many documents -> the passages that are worth reading -> answers on one scale.

May import: what a reader is made of, reader, documents, machine. Left out: files of other kinds (documents).
"""
