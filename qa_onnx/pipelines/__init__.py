"""The question-answering pipeline that transformers 5 removed: same arguments, same form of results.

May import: the files of the root, bundle; export, when a checkpoint is handed in. Left out: other tasks.
"""
