"""A committee in a hostile world: one seed drives clocks, network, disks, crashes and traitors.

::

    plan       what a seed stands for: sizes, faults and when they stop
    traitors   replicas that lie: two-faced, forging, hiding, silent
    checks     what must hold after every message, whoever lies
    world      plays a plan: chaos first, then a healed network in which work must get done
    bandwidth  plays slow lines: how long many requests take, and the least that they can
"""
