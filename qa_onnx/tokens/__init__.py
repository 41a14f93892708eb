"""Text -> token ids: encoder (with wordpiece, its fast way), context_cache, special_tokens.

May import: errors, numpy, tokenizers. Left out: cutting contexts into windows (windows.py).
"""
