"""Validators that order together: a replica's journal on disk, its links to the others, its loop.

::

    journal    what a replica must not forget, in one SQLite file
    links      WebSockets to the others: bounded queues, reconnection, sizes capped
    service    the loop: messages and time in, effects out, in order
"""
