"""Floor 4: the roles, the ports they speak through, and the only loop (`driver`)."""
