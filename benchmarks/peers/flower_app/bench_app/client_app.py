"""The ClientApp: a member's local work of one round."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from reference_work import build_net, load_shards, train_client

from bench_app import SETTINGS

app = ClientApp()
kept: dict[str, object] = {}


@app.train()
def train(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    if not kept:
        kept["net"] = build_net(SETTINGS["work"])
        kept["shards"] = load_shards(SETTINGS["work"], SETTINGS["clients"], SETTINGS["digits_file"])
    net = kept["net"]
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    count = train_client(net, *kept["shards"][int(context.node_config["partition-id"])])
    content = {
        "arrays": ArrayRecord(net.state_dict()),
        "metrics": MetricRecord({"num-examples": count}),
    }
    return Message(content=RecordDict(content), reply_to=message)
