"""flwr itself: whether it is there, and the one private thing that a ServerApp needs of it.

A strategy builds `Message(content, dst_node_id, message_type)`, whose metadata Flower fills from
the task that the process runs (`TaskIdentity`). Outside Flower's own processes nobody has set it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from kumiai.base.errors import InputError

INSTALL = "install it with: pip install 'kumiai[flower]'"
SERVER_NODE_ID = 1
TASK_ID = 1


def require_flower() -> None:
    """Raise InputError with the fix unless flwr can be imported; it reports to nobody from here."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    if importlib.util.find_spec("flwr") is None:
        raise InputError("flwr", "not installed", INSTALL)
    try:
        import flwr.app
        import flwr.clientapp
        import flwr.serverapp  # noqa: F401
    except ImportError as error:
        raise InputError("flwr", str(error), f"another version is needed; {INSTALL}") from error


@contextmanager
def server_identity(run_id: int) -> Iterator[None]:
    """Let Flower's strategies build messages of run `run_id`; put back what was there before."""
    try:
        from flwr.supercore.task_identity import TaskIdentity
    except ImportError as error:
        fix = f"this version has its task identity elsewhere; {INSTALL}"
        raise InputError("flwr", str(error), fix) from error
    names = ("_run_id", "_node_id", "_task_id")
    before = {name: getattr(TaskIdentity, name, None) for name in names}
    TaskIdentity.run_id, TaskIdentity.node_id = run_id, SERVER_NODE_ID
    TaskIdentity.task_id = TASK_ID
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(TaskIdentity, name, value)


@contextmanager
def flower_log(is_shown: bool) -> Iterator[None]:
    """Show Flower's own log only where it is asked for: our display says the same."""
    logger = logging.getLogger("flwr")
    level = logger.level
    if not is_shown:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
