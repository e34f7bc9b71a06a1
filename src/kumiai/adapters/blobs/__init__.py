"""Blobs between people: a Blossom server and client, the stores behind it, and sealed files.

Documents: hzrd149/blossom, BUD-01, 02, 04, 06, 07, 11, 12. A blob is named by the sha256 of its
bytes, and every byte is checked against that name wherever it arrives.
"""
