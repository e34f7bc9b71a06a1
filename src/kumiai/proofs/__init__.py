"""Floor 2: evidence that can be recomputed: copies, replays and missing work."""
