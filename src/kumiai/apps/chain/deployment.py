"""`deployment.json`: which contracts stand where. Written by `kumiai chain deploy`, read by all.

While contracts are being made the file says which nonce the first of them has (`nonce`), so that a
deployment that was interrupted goes on where it stood, and never makes a contract twice.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from kumiai.adapters.evm.accounts import compute_contract_address, parse_address
from kumiai.base.errors import InputError, StoreError

DEPLOYMENT_FILE = "deployment.json"
FORMAT = "kumiai/deployment/1"
FILE_BYTES_MAX = 65_536
# in the order of the deployer's transactions: each address follows from the nonce
CONTRACTS = ("timelock", "arena", "disputes", "lens", "token")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses in lower case; "" where the contract was not asked for. block: not above any log.

    is_complete: all are mined and were asked whether they know each other.
    """

    chain_id: int
    deployer: str
    nonce: int
    timelock: str
    arena: str
    disputes: str
    lens: str
    token: str
    block: int
    delay: int
    guardians: tuple[str, ...]
    is_complete: bool

    def list_contracts(self) -> list[tuple[str, str]]:
        """(name, address) of those that belong to it, in the order of their making."""
        return [(name, getattr(self, name)) for name in CONTRACTS if getattr(self, name)]


def plan_deployment(
    chain_id: int,
    deployer: str,
    nonce: int,
    block: int,
    delay: int,
    guardians: tuple[str, ...],
    *,
    has_token: bool,
) -> Deployment:
    """Return where everything will stand, if the deployer's next transaction has this nonce."""
    at = {
        name: compute_contract_address(deployer, nonce + index)
        for index, name in enumerate(CONTRACTS)
    }
    if not has_token:
        at["token"] = ""
    return Deployment(
        chain_id, deployer, nonce, **at, block=block, delay=delay, guardians=guardians,
        is_complete=False,
    )  # fmt: skip


def save_deployment(path: Path, deployment: Deployment) -> None:
    """Write the file, whole or not at all."""
    body = {"format": FORMAT, **asdict(deployment), "guardians": list(deployment.guardians)}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}", is_retriable=True) from error


def load_deployment(path: Path) -> Deployment:
    """Read the file; InputError says what is wrong with it."""
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(FILE_BYTES_MAX))
    except OSError as error:
        raise InputError("--deployment", str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError("--deployment", str(path), "is no deployment's file: not JSON") from error
    names = {field.name for field in fields(Deployment)}
    if not isinstance(body, dict) or body.get("format") != FORMAT or names - body.keys():
        fix = f"is no file of {FORMAT}: `kumiai chain deploy` writes one"
        raise InputError("--deployment", str(path), fix)
    numbers = ("chain_id", "nonce", "block", "delay")
    if any(type(body[name]) is not int or body[name] < 0 for name in numbers):
        raise InputError("--deployment", str(path), f"{', '.join(numbers)} are whole numbers")
    guardians = body["guardians"]
    if not isinstance(guardians, list) or type(body["is_complete"]) is not bool:
        raise InputError("--deployment", str(path), "guardians are a list, is_complete yes or no")
    values = {name: body[name] for name in (*numbers, "is_complete")}
    for name in ("deployer", *CONTRACTS):
        text = str(body[name])
        values[name] = parse_address(f"{path.name}, {name}", text) if text else ""
    values["guardians"] = tuple(parse_address(f"{path.name}, guardians", str(g)) for g in guardians)
    return Deployment(**values)
