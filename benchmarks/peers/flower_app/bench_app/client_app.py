"""The ClientApp: a member's local work of one round."""

from __future__ import annotations

from flower_work import answer
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from bench_app import SETTINGS

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    return answer(message, context, SETTINGS["work"], SETTINGS["clients"], SETTINGS["digits_file"])
