"""The arena as a person uses it: where it is, what a command would do, what it costs, and sending it."""
