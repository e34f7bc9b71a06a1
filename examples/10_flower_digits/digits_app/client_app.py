"""The ClientApp: a train and an evaluate message, a mod, and a state that lasts between rounds."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_app.task import Net, load_partition
from digits_app.task import test as test_net
from digits_app.task import train as train_net


def step_size_mod(message: Message, context: Context, call_next) -> Message:
    """Add to a train reply how far the node's model moved from the global one."""
    before = message.content["arrays"].to_torch_state_dict()
    reply = call_next(message, context)
    after = reply.content["arrays"].to_torch_state_dict()
    squares = [float((after[name] - before[name]).square().sum()) for name in before]
    reply.content["metrics"]["step-size"] = sum(squares) ** 0.5
    return reply


app = ClientApp()


@app.train(mods=[step_size_mod])
def train(message: Message, context: Context) -> Message:
    """Train on this node's partition."""
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    partition = int(context.node_config["partition-id"])
    data = load_partition(partition, int(context.node_config["num-partitions"]))
    config = context.run_config
    loss = train_net(
        net,
        data,
        int(config["local-epochs"]),
        float(config["learning-rate"]),
        int(config["batch-size"]),
    )
    history = context.state.get("history") or MetricRecord({"losses": []})
    history["losses"] = [*history["losses"], loss]
    context.state["history"] = history
    metrics = {
        "num-examples": len(data[0]),
        "train-loss": loss,
        "rounds-seen": len(history["losses"]),
    }
    content = RecordDict(
        {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord(metrics)}
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Judge the global model on this node's own samples."""
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    partition = int(context.node_config["partition-id"])
    data = load_partition(partition, int(context.node_config["num-partitions"]))
    loss, accuracy = test_net(net, data)
    metrics = {"num-examples": len(data[0]), "eval-loss": loss, "eval-accuracy": accuracy}
    return Message(content=RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
