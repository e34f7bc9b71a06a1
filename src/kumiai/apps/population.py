"""Who takes part in a local run: names, roles, stakes, and what they really are.

All keys derive from the task's seed, so that the same seed gives the same people. `behaviour` is a
scenario's true nature of a member; only the simulated world and the report's "truth" column read
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kumiai.adapters.sim.world import NetworkModel
from kumiai.base.keys import SigningKey, derive_key
from kumiai.nodes.customer import Customer, Escrow, make_holdout_salt, name_chain
from kumiai.nodes.masks import MaskHolder
from kumiai.nodes.member import Delegator, Enrolment
from kumiai.nodes.role import Role
from kumiai.nodes.trainer import Trainer
from kumiai.nodes.validator import Validator, make_beacon_tip
from kumiai.settlement.certificates import ChainPlace
from kumiai.tasks.document import TaskDocument
from kumiai.tasks.secure import is_secure


@dataclass(frozen=True, slots=True)
class Person:
    """One member of a local run. `backs` names whom a delegator backs and with how much."""

    name: str
    role: str  # "trainer", "validator", "delegator", "canary"
    behaviour: str = ""
    stake: int = 1_000
    sigma_ppm: int = 400_000
    backs: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Casting:
    """Who takes part, who copies whom, and what the world is like."""

    scenario: str
    people: tuple[Person, ...]
    victims: Mapping[str, str]
    network: NetworkModel


@dataclass(frozen=True, slots=True)
class Population:
    """The keys and roles of a local run."""

    people: tuple[Person, ...]
    keys: dict[str, SigningKey]  # by name
    customer: SigningKey
    escrow: SigningKey
    orderer: SigningKey
    guardians: tuple[SigningKey, ...]
    funds: Mapping[str, SigningKey]  # by name; also the customer's, and "guardian/0" and so on

    def pubkey(self, name: str) -> str:
        """Return the public key of the member called `name`."""
        return self.keys[name].pubkey

    def named(self, *roles: str) -> tuple[Person, ...]:
        """Return the people in these roles, in their order."""
        return tuple(person for person in self.people if person.role in roles)


def gather(task: TaskDocument, people: Sequence[Person], guardian_count: int = 3) -> Population:
    """Derive everybody's keys from the task's seed."""
    names = [person.name for person in people]
    if len(set(names)) != len(names):
        raise ValueError(f"two members have the same name: {sorted(names)}")
    seed = hashlib.sha256(f"kumiai/{task.name}/{task.seed}".encode()).digest()
    owners = [*names, "customer", *(f"guardian/{i}" for i in range(guardian_count))]
    return Population(
        people=tuple(people),
        keys={person.name: derive_key(seed, f"work/{person.name}") for person in people},
        customer=derive_key(seed, "customer"),
        escrow=derive_key(seed, "escrow"),
        orderer=derive_key(seed, "orderer"),
        guardians=tuple(derive_key(seed, f"guardian/{i}") for i in range(guardian_count)),
        funds={name: derive_key(seed, f"funds/{name}") for name in owners},
    )


def list_replicas(task: TaskDocument, population: Population) -> tuple[str, ...]:
    """Return the keys of the committee that orders: the validators'; none where one orders."""
    if task.validation.ordering == "single":
        return ()
    return tuple(population.pubkey(person.name) for person in population.named("validator"))


def cast_roles(
    task: TaskDocument,
    population: Population,
    holdout_blobs: Sequence[str],
    secrets: Mapping[str, bytes] | None = None,
    shards: Mapping[str, str] | None = None,
    place: ChainPlace | None = None,
) -> dict[str, Role]:
    """Give every person its role machine; roles are named by the member's name.

    secrets: in a secure run, 32 bytes of each trainer's own, by key; ValueError without one.
    shards: in an audited run, the blob of the data that each trainer is assigned, by key.
    place: the contract that settles, where the task asks for one.
    """
    roles: dict[str, Role] = {}
    canaries, stakes, delegations = [], {}, []
    judges = tuple(population.pubkey(person.name) for person in population.named("validator"))
    handed = dict(zip(judges, holdout_blobs, strict=False))  # none where nobody opens them
    salt = make_holdout_salt(population.customer, task)
    for person in population.people:
        key = population.keys[person.name]
        enrolment, masks = _make_enrolment(task, population, person), None
        if is_secure(task) and enrolment.role == "trainer":
            if key.pubkey not in (secrets or {}):
                raise ValueError(f"{person.name} has no secret, which a secure run needs")
            masks = MaskHolder((secrets or {})[key.pubkey])
            enrolment = replace(enrolment, share_key=masks.share_key)
        if person.role == "canary":
            canaries.append(key.pubkey)
        if person.role == "delegator":
            roles[person.name] = Delegator(key, enrolment)
        elif person.role == "validator":
            roles[person.name] = Validator(key, enrolment, (handed.get(key.pubkey, ""), salt))
        else:
            roles[person.name] = Trainer(key, enrolment, masks)
        stakes[key.pubkey] = 0 if person.role == "delegator" else person.stake
        delegations += [
            (key.pubkey, population.pubkey(node), amount) for node, amount in person.backs
        ]
    roles["escrow"] = Escrow(
        key=population.escrow,
        customer=population.customer.pubkey,
        budget=task.rewards.budget,
        stakes=stakes,
        delegations=tuple(delegations),
    )
    roles["customer"] = Customer(
        key=population.customer,
        task=task,
        orderer=population.orderer.pubkey,
        escrow=population.escrow.pubkey,
        guardians=tuple(key.pubkey for key in population.guardians),
        replicas=list_replicas(task, population),
        canaries=tuple(canaries),
        holdout_blobs=tuple(holdout_blobs),
        holdout_owners=judges,
        members_expected=len(population.people),
        delegations_expected=len(delegations),
        shards=shards or {},
        chain=_name_place(population, place),
    )
    return roles


def _make_enrolment(task: TaskDocument, population: Population, person: Person) -> Enrolment:
    key, is_judge = population.keys[person.name], person.role == "validator"
    return Enrolment(
        role="trainer" if person.role == "canary" else person.role,
        name=person.name,
        funds_key=population.funds[person.name],
        sigma_ppm=person.sigma_ppm,
        beacon_tip=make_beacon_tip(key, task.training.rounds) if is_judge else "",
    )


def _name_place(population: Population, place: ChainPlace | None) -> dict[str, object]:
    """What the customer's task says about the contract: nothing where there is none."""
    if place is None:
        return {}
    owner = population.funds["customer"]
    return name_chain(population.customer, owner, place.chain_id, place.arena)
