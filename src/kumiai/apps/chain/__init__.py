"""The arena as a person uses it: where it is, what a command would do and cost, and sending it."""
