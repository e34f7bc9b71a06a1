"""NOSTR relays: several as one behind `RelayPort`, and one that runs within this process."""
