"""Language models of others: base folders in Hugging Face's format, their tokens, adapters on them.

Nothing here opens a connection, runs code that came with a model, or reads a pickle.
"""
