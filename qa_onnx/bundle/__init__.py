"""The folder that a reader loads: graphs, tokenizer, manifest, receipts; and what to run of it on this machine.

May import: the files of the root but `reader`, engines, machine, tokens. Left out: writing one (export).
"""
