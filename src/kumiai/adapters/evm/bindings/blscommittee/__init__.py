"""Bindings of BlsCommittee; generated."""
