"""The network as the task's recipe: what validators build without the members' app."""

from digits_app.task import Net


def build(width: float) -> Net:
    """One width only: a ClientApp trains the whole network."""
    return Net()
