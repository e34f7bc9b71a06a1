"""Ecash for escrow: `wallet` over a real Cashu mint, `embedded` as its twin without a service.

The protocol is written in numbered documents (NUTs, https://github.com/cashubtc/nuts); a module
here names those that it follows. Nothing of a mint's program is imported: what a wallet needs is
small, and the known implementation's packages clash with ours.
"""
