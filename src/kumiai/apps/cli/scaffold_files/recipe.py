"""The model and the data of this task. Change both; `kumiai run task.toml` uses what is here."""

import csv
from pathlib import Path

import numpy as np
from torch import nn

FEATURES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
LABEL, OWNER = "species", "owner"
CLASSES = 3
HIDDEN = 32


def build(width: float) -> nn.Module:
    """Return the network at a width: 1.0 is all of it, 0.25 the leading quarter of its units.

    Only the inner sizes shrink; inputs and outputs stay, so that a narrow one does the same job.
    """
    hidden = round(HIDDEN * width)
    return nn.Sequential(
        nn.Linear(len(FEATURES), hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, CLASSES),
    )


def load():
    """Return X [n, features], y [n] (numbers or names of classes) and the owner of each row."""
    path = Path(__file__).with_name("data.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    x = np.array([[float(row[name]) for name in FEATURES] for row in rows], dtype=np.float32)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = np.array([row[LABEL] for row in rows])
    owners = np.array([row[OWNER] for row in rows])
    return x, y, owners


# Optional, for a task that is no classification (both take what `build` returns and the targets):
#
# def loss(outputs, targets):       the mean over the batch, smaller is better
#     return ((outputs.squeeze(1) - targets) ** 2).mean()
#
# def correct(outputs, targets):    one number a sample: 1 for right, 0 for wrong
#     return ((outputs.squeeze(1) - targets).abs() < 0.5).float()
