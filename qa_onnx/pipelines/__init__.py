"""transformers' question-answering pipeline as it was: its arguments, its results.

May import: the files of the root, bundle; export, when a checkpoint is handed in. Left out: other tasks.
"""
