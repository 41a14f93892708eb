"""Text -> token ids: special tokens, a cache of encoded contexts, WordPiece with a memory.

May import: errors, numpy, tokenizers. Left out: cutting contexts into windows (windows.py).
"""
