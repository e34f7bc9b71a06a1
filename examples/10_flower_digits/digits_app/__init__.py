"""A Flower app: federated handwritten digits."""
