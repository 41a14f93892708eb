"""Files and data sets of the hub -> questions with answers, and bytes of text files -> text.

squad.py lists the files in the order of the data. May import: errors, machine (which packages are installed).
Left out: measuring (evaluation), training sets (train).
"""
