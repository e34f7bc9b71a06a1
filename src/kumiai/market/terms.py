"""What the parties agree on: a job, an offer, a contract, a round request, as values.

Each has `list_tags`, which writes NIP-90's `i` and `param` tags, and a `read_*` as the strict way
back. Source: docs/nip-training.md, sections 3 and 4. Readers raise `ParamError`, which names the
parameter, its value and what would do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kumiai.market.kinds import Policy
from kumiai.market.nips.urls import is_server_address
from kumiai.market.params import INTEGER_MAX, ParamError, Params, read_int, write_param

MSAT_MAX = 21_000_000 * 100_000_000 * 1_000
SECONDS_MAX = 30 * 24 * 3600
ROUNDS_MAX = 10_000
SHARDS_MAX = 1_000
REDUNDANCY_MAX = 5
COMMITTEE_MAX = 64  # as many values as a parameter may have
SERVERS_MAX = 8
BLOB_BYTES_MAX = 2**40
PPM_LIMIT = 10**12

_BLOB = re.compile(r"blossom:([0-9a-f]{64})\.([a-z0-9]{1,12})(?:\?(.*))?", re.DOTALL)
Tag = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob by its sha256, how long it is, and servers that have it (BUD-10)."""

    sha256: str
    size_bytes: int
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Validation:
    """How the customer decides, declared beforehand (FEDSTR's fourth requirement of a request).

    min_gain_ppm: loss of the round's model minus loss with the update, on the private hold-out, in
    ppm of a nat. peer_margin_ppm: how far below the round's mean gain an update may lie.
    """

    method: str = "holdout"
    min_gain_ppm: int = 0
    peer_margin_ppm: int = 200_000


@dataclass(frozen=True, slots=True)
class JobTerms:
    """A whole job as its 5600 declares it. Money in msat, times in seconds."""

    task: BlobRef
    recipe: str
    algorithm: str
    rounds: int
    shards: int
    samples: int
    shard_bytes: int
    model_bytes: int
    update_bytes_max: int
    input_shape: tuple[int, ...]
    class_count: int
    train_s: int
    reveal_s: int
    judge_s: int
    bid_msat: int
    payment: tuple[Policy, ...]
    code: BlobRef | None = None
    redundancy: int = 1
    hardware: str = "cpu"
    validation: Validation = field(default_factory=Validation)
    committee: tuple[str, ...] = ()
    quorum: int = 1
    jury: tuple[str, ...] = ()
    arbiter: str = ""  # the jury's compressed ecash key, with policy escrow

    def list_tags(self) -> list[Tag]:
        """Return the `i` and `param` tags, which a sealed job hides."""
        tags = [write_blob(self.task, "task", "json")]
        if self.code is not None:
            tags.append(write_blob(self.code, "code", "py"))
        v = self.validation
        tags += [
            write_param("recipe", self.recipe),
            write_param("algorithm", self.algorithm),
            write_param("rounds", self.rounds),
            write_param("shards", self.shards),
            write_param("redundancy", self.redundancy),
            write_param("samples", self.samples),
            write_param("shard_bytes", self.shard_bytes),
            write_param("model_bytes", self.model_bytes),
            write_param("update_bytes_max", self.update_bytes_max),
            write_param("input", ",".join(map(str, self.input_shape))),
            write_param("classes", self.class_count),
            write_param("train_s", self.train_s),
            write_param("reveal_s", self.reveal_s),
            write_param("judge_s", self.judge_s),
            write_param("payment", *self.payment),
            write_param(
                "validation",
                v.method,
                f"min_gain_ppm={v.min_gain_ppm}",
                f"peer_margin_ppm={v.peer_margin_ppm}",
            ),
            write_param("hardware", self.hardware),
        ]
        if self.committee:
            tags += [write_param("committee", *self.committee), write_param("quorum", self.quorum)]
        if self.jury:
            tags.append(write_param("jury", *self.jury))
        if self.arbiter:
            tags.append(write_param("arbiter", self.arbiter))
        return tags


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """What a provider asks for one accepted round, and the keys that it will be paid by."""

    price_msat: int
    payment: Policy
    payee: str  # compressed node key that its invoices are signed by
    train_s: int
    ecash: str = ""  # compressed key, with policy escrow
    expires_at_s: int = 0

    def list_tags(self) -> list[Tag]:
        """Return the `param` tags; price and expiration have tags of their own."""
        tags = [
            write_param("payment", self.payment),
            write_param("payee", self.payee),
            write_param("train_s", self.train_s),
        ]
        return [*tags, write_param("ecash", self.ecash)] if self.ecash else tags


@dataclass(frozen=True, slots=True)
class ContractTerms:
    """What a 5601 hides: which part of the data, its key, and the price that was offered."""

    shard_index: int
    shard: BlobRef  # sealed
    shard_key: str
    price_msat: int
    payment: Policy
    payee: str
    job_key: str = ""

    def list_tags(self) -> list[Tag]:
        """Return the hidden tags."""
        tags = [
            write_blob(self.shard, "shard", "sealed"),
            write_param("shard_key", self.shard_key),
            write_param("shard", self.shard_index),
            write_param("price_msat", self.price_msat),
            write_param("payment", self.payment),
            write_param("payee", self.payee),
        ]
        return [*tags, write_param("job_key", self.job_key)] if self.job_key else tags


@dataclass(frozen=True, slots=True)
class RoundTerms:
    """What a 5602 hides. `deadline_s` is unix seconds by the customer's clock."""

    round: int
    attempt: int
    model: BlobRef
    seed: int
    deadline_s: int
    price_msat: int
    payment_hash: str = ""  # with policy hold
    token: str = ""  # with policy escrow; and what it is locked to, beside provider and arbiter
    customer_ecash: str = ""
    locktime_s: int = 0

    def list_tags(self) -> list[Tag]:
        """Return the hidden tags."""
        tags = [
            write_blob(self.model, "model", "kumiai"),
            write_param("round", self.round),
            write_param("attempt", self.attempt),
            write_param("seed", self.seed),
            write_param("deadline", self.deadline_s),
            write_param("price_msat", self.price_msat),
        ]
        if self.payment_hash:
            tags.append(write_param("payment_hash", self.payment_hash))
        if self.token:
            tags.append(write_param("customer_ecash", self.customer_ecash))
            tags.append(write_param("locktime", self.locktime_s))
        return [*tags, *write_long("token", self.token)]


@dataclass(frozen=True, slots=True)
class ResultTerms:
    """What a 6602 hides. loss_ppm is the provider's own word and decides nothing."""

    update: BlobRef  # sealed
    commitment: str
    samples: int
    iterations: int
    flop: int
    loss_ppm: int
    key: str = ""  # with policies invoice and escrow

    def list_tags(self) -> list[Tag]:
        """Return the hidden tags."""
        tags = [
            write_blob(self.update, "update", "sealed"),
            write_param("commitment", self.commitment),
            write_param("samples", self.samples),
            write_param("iterations", self.iterations),
            write_param("flop", self.flop),
            write_param("loss_ppm", self.loss_ppm),
        ]
        return [*tags, write_param("key", self.key)] if self.key else tags


def read_job(tags: Sequence[Tag], params: Params, bid_msat: int) -> JobTerms:
    """Read a job's terms from its (opened) tags."""
    code = find_blob(tags, "code")
    committee = params.get_keys("committee", COMMITTEE_MAX)
    text = params.get_text("input", "")
    shape = tuple(read_int("input", part, 1, 2**20) for part in text.split(",") if part)
    if len(shape) > 8:
        raise ParamError("input", text, "has more than 8 dimensions")
    return JobTerms(
        task=need_blob(tags, "task"),
        code=code,
        recipe=params.get_text("recipe"),
        algorithm=params.get_text("algorithm"),
        rounds=params.get_int("rounds", 1, ROUNDS_MAX),
        shards=params.get_int("shards", 1, SHARDS_MAX),
        redundancy=params.get_int("redundancy", 1, REDUNDANCY_MAX, default=1),
        samples=params.get_int("samples", 1, 2**40),
        shard_bytes=params.get_int("shard_bytes", 1, BLOB_BYTES_MAX),
        model_bytes=params.get_int("model_bytes", 1, BLOB_BYTES_MAX),
        update_bytes_max=params.get_int("update_bytes_max", 1, BLOB_BYTES_MAX),
        input_shape=shape,
        class_count=params.get_int("classes", 1, 2**31),
        train_s=params.get_int("train_s", 1, SECONDS_MAX),
        reveal_s=params.get_int("reveal_s", 1, SECONDS_MAX),
        judge_s=params.get_int("judge_s", 1, SECONDS_MAX),
        bid_msat=bid_msat,
        payment=read_policies(params.get_all("payment")),
        hardware=params.get_text("hardware", "cpu"),
        validation=_read_validation(params.get_all("validation")),
        committee=committee,
        quorum=_read_quorum(params, len(committee)),
        jury=params.get_keys("jury", COMMITTEE_MAX),
        arbiter=params.get_point("arbiter", ""),
    )


def read_offer(params: Params, price_msat: int, expires_at_s: int) -> OfferTerms:
    """Read an offer's terms; the price is its `amount` tag's."""
    (payment,) = read_policies((params.get_text("payment"),))
    return OfferTerms(
        price_msat=price_msat,
        payment=payment,
        payee=params.get_point("payee"),
        train_s=params.get_int("train_s", 1, SECONDS_MAX),
        ecash=params.get_point("ecash", ""),
        expires_at_s=expires_at_s,
    )


def read_contract(tags: Sequence[Tag], params: Params) -> ContractTerms:
    """Read what a contract hides."""
    (payment,) = read_policies((params.get_text("payment"),))
    return ContractTerms(
        shard_index=params.get_int("shard", 0, SHARDS_MAX - 1),
        shard=need_blob(tags, "shard"),
        shard_key=params.get_hash("shard_key"),
        price_msat=params.get_int("price_msat", 0, MSAT_MAX),
        payment=payment,
        payee=params.get_point("payee"),
        job_key=params.get_hash("job_key", ""),
    )


def read_round(tags: Sequence[Tag], params: Params) -> RoundTerms:
    """Read what a round request hides."""
    return RoundTerms(
        round=params.get_int("round", 1, ROUNDS_MAX),
        attempt=params.get_int("attempt", 0, 1_000),
        model=need_blob(tags, "model"),
        seed=params.get_int("seed", 0, INTEGER_MAX),
        deadline_s=params.get_int("deadline", 0, 2**40),
        price_msat=params.get_int("price_msat", 0, MSAT_MAX),
        payment_hash=params.get_hash("payment_hash", ""),
        token="".join(params.get_all("token")),
        customer_ecash=params.get_point("customer_ecash", ""),
        locktime_s=params.get_int("locktime", 0, 2**40, default=0),
    )


def read_result(tags: Sequence[Tag], params: Params) -> ResultTerms:
    """Read what a result hides."""
    return ResultTerms(
        update=need_blob(tags, "update"),
        commitment=params.get_hash("commitment"),
        samples=params.get_int("samples", 0, 2**40),
        iterations=params.get_int("iterations", 0, 2**40),
        flop=params.get_int("flop", 0, INTEGER_MAX),
        loss_ppm=params.get_int("loss_ppm", -PPM_LIMIT, PPM_LIMIT),
        key=params.get_hash("key", ""),
    )


def write_blob(ref: BlobRef, role: str, extension: str) -> Tag:
    """Return the `i` tag of a blob (BUD-10 in NIP-90's input)."""
    hints = [f"xs={server}" for server in ref.servers] + [f"sz={ref.size_bytes}"]
    uri = f"blossom:{ref.sha256}.{extension}?{'&'.join(hints)}"
    return ("i", uri, "url", "", role)


def need_blob(tags: Sequence[Tag], role: str) -> BlobRef:
    """As `find_blob`, but ParamError if there is none."""
    found = find_blob(tags, role)
    if found is None:
        raise ParamError(f"i ({role})", None, "is missing")
    return found


def find_blob(tags: Sequence[Tag], role: str) -> BlobRef | None:
    """Return the blob of the only `i` tag with this role; ParamError for two or a bad URI."""
    found = [tag for tag in tags if len(tag) >= 5 and tag[0] == "i" and tag[4] == role]
    if not found:
        return None
    if len(found) > 1:
        raise ParamError(f"i ({role})", len(found), "is given more than once")
    uri = found[0][1]
    matched = _BLOB.fullmatch(uri) if len(uri) <= 4_096 else None
    if matched is None:
        raise ParamError(f"i ({role})", uri[:80], "is no blossom:<sha256>.<ext>?xs=..&sz=.. URI")
    servers: list[str] = []
    sizes: list[str] = []
    for item in (matched[3] or "").split("&"):
        name, _, value = item.partition("=")
        if name == "xs":
            servers.append(value)
        elif name == "sz":
            sizes.append(value)
    if len(sizes) != 1 or len(servers) > SERVERS_MAX:
        raise ParamError(f"i ({role})", uri[:80], f"needs one sz and at most {SERVERS_MAX} xs")
    for server in servers:
        if not is_server_address(server):
            raise ParamError(f"i ({role})", server[:80], "xs must be an http(s) address")
    size_bytes = read_int(f"i ({role}) sz", sizes[0], 0, BLOB_BYTES_MAX)
    return BlobRef(matched[1], size_bytes, tuple(servers))


def read_policies(names: Sequence[str]) -> tuple[Policy, ...]:
    """Read the names of ways of payment, at least one; ParamError for another word."""
    known = {str(policy): policy for policy in Policy}
    if not names or len(set(names)) != len(names) or not set(names) <= set(known):
        raise ParamError("payment", tuple(names), f"must be among {', '.join(known)}, each once")
    return tuple(known[name] for name in names)


def _read_quorum(params: Params, judges: int) -> int:
    """Absent: more than half of those whom (judges - 1) // 3 liars leave, and the liars too."""
    if not judges:
        return 1
    return params.get_int("quorum", 1, judges, default=(judges + (judges - 1) // 3) // 2 + 1)


def _read_validation(values: Sequence[str]) -> Validation:
    if not values:
        raise ParamError("validation", None, "is missing: say how results are judged")
    if values[0] != "holdout":
        raise ParamError("validation", values[0], "must be holdout, the only method known")
    numbers = dict(item.split("=", 1) for item in values[1:] if "=" in item)
    default = Validation()
    gain = numbers.get("min_gain_ppm", str(default.min_gain_ppm))
    margin = numbers.get("peer_margin_ppm", str(default.peer_margin_ppm))
    return Validation(
        "holdout",
        read_int("validation min_gain_ppm", gain, -PPM_LIMIT, PPM_LIMIT),
        read_int("validation peer_margin_ppm", margin, 0, PPM_LIMIT),
    )


def write_long(name: str, text: str) -> list[Tag]:
    """A text may be longer than one value: it is cut, and joined again by the reader."""
    size = 4_000
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    return [write_param(name, *parts)] if parts else []
