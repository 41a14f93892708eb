"""One look for all pages and plots: colours, fonts, light and dark, on screens of any width and on paper.

May import: nothing of the package; matplotlib inside functions. Left out: what they show (bench, train, the
server's list of endpoints), and the server's page (serve), whose colours these are.
"""
