"""Files -> questions and texts: SQuAD's format, JSON lines, plain text.

May import: errors, the root's `windows`. Left out: measuring (evaluation), training sets (train).
"""
