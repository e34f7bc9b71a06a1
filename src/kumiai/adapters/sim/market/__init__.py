"""A simulated market: many members' machines in one thread, virtual time, seeded faults."""
