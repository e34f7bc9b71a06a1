"""Wallets behind `WalletPort`: the embedded one, and those of others; intents and accounts."""
