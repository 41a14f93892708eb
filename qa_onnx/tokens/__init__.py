"""Text -> token ids: encoder (with wordpiece, its fast way), context_cache, special_tokens; and back: boundaries.

May import: errors, numpy, tokenizers, regex. Left out: cutting contexts into windows (windows.py).
"""
