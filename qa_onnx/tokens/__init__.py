"""Text -> token ids: encoder (with wordpiece and long_text), context_cache, special_tokens; and back: boundaries.

A tokenizer.json is not trusted: tokenizer_file (with steps, patterns and charsmap) checks it before it is loaded.

May import: errors, numpy, tokenizers, msgspec, regex. Left out: cutting contexts into windows (windows.py).
"""
