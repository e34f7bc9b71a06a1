"""How local training runs on this machine: one member after another, stacked, or in processes.

Every backend gives each member the result that `inline` gives it, to float rounding; the same
backend with the same seeds gives the same bytes.
"""
