"""Who plays in the menu's runs: honest companies, cheats, validators and those who back them."""

from __future__ import annotations

from dataclasses import replace

from kumiai.apps.population import Person

NAMES = ("Aoba", "Birch", "Cedar", "Daichi", "Elm", "Fuji", "Ginkgo", "Hinoki", "Iris")
VALIDATORS = ("Kotei", "Lens", "Mikan", "Nori")


def make_people(
    *cheats: Person, honest: int = 6, canary: bool = True, validators: int = 4
) -> tuple[Person, ...]:
    """Return the members of a run: so many honest trainers, then the cheats, and the rest."""
    stakes = (1_500, 1_000, 1_200, 800, 1_000, 900, 1_000, 1_000, 1_000)
    members = [Person(NAMES[i], "trainer", stake=stakes[i]) for i in range(honest)]
    members += list(cheats)
    if canary:
        members.append(Person("Yamabiko", "canary", "canary"))
    members += [Person(VALIDATORS[i], "validator", stake=600) for i in range(validators)]
    members.append(Person("Suzu", "delegator", backs=((NAMES[0], 500), (VALIDATORS[0], 400))))
    if honest > 2:
        members.append(Person("Tomo", "delegator", backs=((NAMES[2], 800),)))
    return tuple(members)


THREE_CHEATS = (
    Person("Rakuda", "trainer", "free-rider"),
    Person("Utsushi", "trainer", "copier"),
    Person("Dokudami", "trainer", "poisoner"),
)


def recast(people: tuple[Person, ...], name: str, behaviour: str) -> tuple[Person, ...]:
    """Return the same people, of whom one behaves otherwise."""
    return tuple(
        replace(person, behaviour=behaviour) if person.name == name else person for person in people
    )
