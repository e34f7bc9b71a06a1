"""Ecash: `wallet` for escrow and `purse` for its owner over a real Cashu mint; `embedded` and
`embedded_purse` as their twins without a service.

The protocol is written in numbered documents (NUTs, https://github.com/cashubtc/nuts); a module
here names those that it follows. Nothing of a mint's program is imported: what a wallet needs is
small, and the known implementation's packages clash with ours.
"""
