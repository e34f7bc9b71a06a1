"""The open market as people use it: job files, a customer's and a provider's folder, the demo."""
