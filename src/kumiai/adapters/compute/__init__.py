"""Numeric work for the nodes: the learning engine, valuation and similarity behind `ComputePort`."""
