"""The open market: jobs, offers, contracts and results as signed events, and who is owed what.

Source: FEDSTR (arXiv 2404.15834) as far as its facts are known, and the NOSTR documents named in
each codec of `nips`. What the paper's text does not tell is a reconstruction and says so where it
stands.
"""
