"""The market's part of floor 4: what it asks of relays, blob servers, wallets and mints."""
