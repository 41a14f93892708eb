"""Files of many kinds -> texts, and where in them an answer stands.

May import: errors, machine, data, tokens, regex. Left out: which documents are worth reading (retrieval), and
reading them.
"""
