"""One codec a document of NOSTR (NIP): bytes to values and back, pure, with caps before parsing."""
