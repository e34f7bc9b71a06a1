"""Floor 5: everything that touches the world, one folder a kind; each has a memory or sim twin."""
