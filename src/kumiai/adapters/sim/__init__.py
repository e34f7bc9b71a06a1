"""A seeded world: virtual time, delays, losses, partitions, crashes, and members that cheat."""
