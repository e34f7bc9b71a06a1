"""Flower apps on this engine: a grid for whole apps, a trainer for ClientApps of members.

The only place that imports flwr, and only when an app is run: see docs/adr/0015-flower.md.
"""
