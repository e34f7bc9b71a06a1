"""Floor 2: all numerics of training: recipes, flat layouts, fixed point, aggregation, server rules.

Pure: seeds are arguments; nothing here reads a file, a clock or the environment. What leaves this
room for the log is integers, so that every machine computes the same digest.
"""
