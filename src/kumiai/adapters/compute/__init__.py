"""Numeric work for the nodes: engine, valuation and similarity behind `ComputePort`."""
