"""The applications: the only floor that reads arguments, the environment and files of settings."""
