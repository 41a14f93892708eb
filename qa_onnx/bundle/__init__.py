"""The folder that a reader loads: graphs, tokenizer, manifest; and the runtime that suits this machine.

May import: the files of the root but `reader`, engines, machine, tokens. Left out: writing one (export).
"""
