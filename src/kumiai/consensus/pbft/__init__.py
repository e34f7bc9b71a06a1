"""Practical Byzantine Fault Tolerance: a committee puts commands into one order, no member trusted.

Source: M. Castro, B. Liskov, Practical Byzantine Fault Tolerance, OSDI 1999; status messages and
retransmission as in their Proactive Recovery paper (OSDI 2000). Deviations: docs/adr/0026.

::

    messages      what replicas say, signed over every field; the door for what peers send
    committee     who the replicas are, who leads which view, how many must agree
    proofs        sets of signatures that convince anybody: prepared, decided, stable, equivocation
    safety        what a replica may sign and must remember, readable alone
    slots         what was heard about each sequence number
    pool          requests that wait, and what was executed for each client
    views         the view change: which proposals a new view must begin with
    replica       the machine: one input at a time, effects out
"""
