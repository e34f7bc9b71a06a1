"""How local training runs: one member after another, stacked, in processes, or on Ray.

Every backend gives each member the result that `inline` gives it, to float rounding; the same
backend with the same seeds gives the same bytes.
"""
