"""Validators that order together, as processes; and the world of a run that they order.

::

    journal    what a replica must not forget, in one SQLite file
    links      WebSockets to the others: bounded queues, reconnection, sizes capped
    gate       members' events become requests of the validator that they were handed to
    service    the loop: messages and time in, effects out, in order
    processes  a committee's services on one machine, looked after
    following  decided batches, from one validator after another
    world      a run's time and order, made of all that
"""
