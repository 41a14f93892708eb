"""Settings of gunicorn for flask_app.py and django_app.py: `gunicorn -c gunicorn_conf.py flask_app:app`."""

workers = 2  # processes, each with a model of its own: 160 MB or more
threads = 16  # of a process; they share its reader and its batches
# A reader that is loaded before the fork works in the children too, but each opens the graph again for its first
# question: nothing is saved, and that question waits.
preload_app = False
