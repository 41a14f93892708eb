"""Files -> questions and texts: SQuAD JSON, JSON Lines, plain text.

May import: errors, the root's `windows`. Left out: measuring (evaluation), training sets (train).
"""
