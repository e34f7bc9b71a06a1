"""The menu: ready-made runs, each with its members, its data and what goes wrong in it.

Every scenario states what is expected to happen; tests/apps/test_scenarios.py holds it to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.casts import NAMES, THREE_CHEATS, VALIDATORS, make_people, recast
from kumiai.apps.population import Person
from kumiai.rounds.kinds import Kind
from kumiai.tasks.document import TaskDocument, task_from_mapping

TRAINING: Mapping[str, object] = {
    "rounds": 8,
    "local_epochs": 4,
    "learning_rate_ppm": 200_000,
    "weighting": "samples",
}
DIGITS_DATA: Mapping[str, object] = {
    "source": "digits",
    "partition": "dirichlet",
    "alpha_ppm": 1_000_000,
}
SHORT_MS = {"train_ms_max": 10_000, "reveal_ms": 5_000, "score_ms": 5_000, "certify_ms": 5_000}
DIGITS: Mapping[str, object] = {
    "data": DIGITS_DATA,
    "model": {"recipe": "mlp"},
    "training": TRAINING,
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One entry of the menu. `settings` is a task document's mapping; `expected` a sentence."""

    name: str
    title: str
    title_ja: str
    description: str
    expected: str
    settings: Mapping[str, object]
    people: tuple[Person, ...]
    victims: Mapping[str, str] = field(default_factory=dict)  # copier -> whom it copies
    network: NetworkModel = field(default_factory=NetworkModel)

    def make_task(self, seed: int) -> TaskDocument:
        """Return the task document for this seed."""
        trainers = sum(person.role == "trainer" and has_shard(person) for person in self.people)
        validators = sum(person.role == "validator" for person in self.people)
        settings = dict(self.settings)
        settings["data"] = {**dict(_section(settings, "data")), "trainers": trainers}
        settings["validation"] = {
            **dict(_section(settings, "validation")),
            "validators": validators,
            "canaries": sum(person.role == "canary" for person in self.people),
        }
        governance = {
            "owner": "Kumiai demo co-operative",
            "responsible": "demo customer",
            "jurisdiction": "JP",
            "purpose": "show a whole run on public data",
            "guardians_required": 2,
        }
        return task_from_mapping(
            {"name": f"demo-{self.name}", "seed": seed, "governance": governance, **settings}
        )


def has_shard(person: Person) -> bool:
    """Tell whether this member owns data: free riders, copiers and the like do not."""
    return person.behaviour not in ("free-rider", "copier", "replayer", "garbage")


def _section(settings: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = settings.get(name, {})
    assert isinstance(section, Mapping)
    return section


_MAIN = Scenario(
    name="cooperative",
    title="The main job",
    title_ja="本番の流れ",
    description="Six companies train on handwritten digits; a free rider, a copier and a poisoner "
    "try to profit.",
    expected="The three cheats earn nothing; the model is as good as one trained on pooled data.",
    settings={
        "data": {"source": "mnist5k", "partition": "dirichlet", "alpha_ppm": 3_000_000},
        "model": {"recipe": "mlp", "options": {"hidden": 128}},
        "training": {
            "rounds": 24,
            "local_epochs": 1,
            "learning_rate_ppm": 200_000,
            "server_momentum_ppm": 500_000,
            "weighting": "samples",
        },
        "model_rewards": {"policy": "aequa"},
    },
    people=make_people(*THREE_CHEATS),
    victims={"Utsushi": "Aoba"},
)


def _digits(
    name: str,
    title: str,
    title_ja: str,
    description: str,
    expected: str,
    people: tuple[Person, ...],
    **more: object,
) -> Scenario:
    victims = more.pop("victims", {})
    network = more.pop("network", NetworkModel())
    assert isinstance(victims, Mapping) and isinstance(network, NetworkModel)
    return Scenario(
        name=name,
        title=title,
        title_ja=title_ja,
        description=description,
        expected=expected,
        settings={**DIGITS, **more},
        people=people,
        victims=victims,
        network=network,
    )


def _churn(people: tuple[Person, ...]) -> NetworkModel:
    """Three in ten trainers are away for a while, at times spread over the run."""
    trainers = [person.name for person in people if person.role == "trainer"]
    away = trainers[:: max(1, 10 // 3)]
    crashes = {name: ((4_000 + 2_500 * i, 10_000 + 2_500 * i),) for i, name in enumerate(away)}
    return NetworkModel(crashes=crashes, drop_ppm=50_000)


_NINE = make_people(honest=9)
AEQUA_UNITS = (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96, 128)  # hidden units
_ALL = (
    _MAIN,
    _digits(
        "fast",
        "The main job, small",
        "小さな本番",
        "The same members on 8x8 digits: a few seconds.",
        "As the main job.",
        make_people(*THREE_CHEATS),
        victims={"Utsushi": "Aoba"},
    ),
    Scenario(
        name="aequa",
        title="A model for each by what it gave",
        title_ja="貢献に見合うモデルを一人ずつに",
        description="Six companies with very different amounts of data train one slimmable model; "
        "the committee measures how accurate it is at each of sixteen widths.",
        expected="Each receives the width whose accuracy its contribution earned: who gave most "
        "the full model, who gave least a narrow one.",
        settings={
            "data": {"source": "mnist5k", "partition": "quantity", "alpha_ppm": 3_000_000},
            "model": {
                "recipe": "mlp",
                "options": {"hidden": 128},
                "widths_ppm": [1_000_000 * units // 128 for units in AEQUA_UNITS],
            },
            "training": {
                "rounds": 8,
                "local_epochs": 2,
                "learning_rate_ppm": 300_000,
                "lr_schedule": "cosine",
                "weighting": "samples",
            },
            "model_rewards": {"policy": "aequa", "width_min_ppm": 31_250},
        },
        people=make_people(),
    ),
    _digits(
        "aequa-live",
        "A width for each while they train",
        "学習中から貢献に見合う幅を",
        "Six companies with very different amounts of data; from the second round on each is given "
        "only the width of the model that its contribution so far earned. One trains more.",
        "Who gave most works at the full width, who gave least at a narrow one; the updates that "
        "reach beyond their width are refused.",
        make_people(Person("Hamidashi", "trainer", "overreach")),
        data={"source": "digits", "partition": "quantity", "alpha_ppm": 1_500_000},
        model={"recipe": "mlp", "options": {"hidden": 64}},
        training=TRAINING,
        model_rewards={"policy": "aequa-live"},
    ),
    Scenario(
        name="owners",
        title="Natural owners",
        title_ja="もともとの持ち主ごとのデータ",
        description="Penguins measured on three islands in three seasons: each station keeps its "
        "own rows.",
        expected="Everybody is paid by what its station's data added.",
        settings={
            "data": {"source": "penguins", "partition": "owner"},
            "model": {"recipe": "mlp", "options": {"hidden": 32}},
            "training": {
                "rounds": 8,
                "local_epochs": 4,
                "learning_rate_ppm": 50_000,
                "batch_size": 16,
            },
        },
        people=make_people(honest=9),
    ),
    Scenario(
        name="text",
        title="A language model by its authors",
        title_ja="書き手ごとの文章で育てる言語モデル",
        description="Each member holds one president's State of the Union addresses; a small "
        "transformer learns to write, by DiLoCo; updates travel in a twentieth of their size.",
        expected="Everybody's text counts; a poisoner and a free rider earn nothing.",
        settings={
            "data": {
                "source": "sotu",
                "options": {"length": 32},
                "partition": "owner",
                "holdout_ppm": 10_000,
                "test_ppm": 10_000,
            },
            "model": {
                "recipe": "transformer",
                "options": {"layers": 1, "heads": 2},
                "widths_ppm": [1_000_000],
            },
            "training": {
                "rounds": 8,
                "local_iterations": 50,
                "batch_size": 8,
                "optimizer": "adamw",
                "learning_rate_ppm": 8_000,
                "algorithm": "diloco",
                "server_momentum_ppm": 500_000,  # of few rounds 0.9 would spend most on swinging
                "codec": "ef|topk:density=0.2|int2",
                "slim": False,
            },
            "validation": {"valuation": "loo"},  # 21 models a round, where gtg asks for hundreds
        },
        people=make_people(THREE_CHEATS[0], THREE_CHEATS[2], honest=7),
    ),
    _digits(
        "honest",
        "Everybody honest",
        "全員が正直",
        "Six honest members.",
        "Nobody gets a negative verdict.",
        make_people(),
    ),
    _digits(
        "free-rider",
        "A free rider",
        "ただ乗り",
        "One member sends noise instead of work.",
        "It earns nothing: its updates are unrelated to everyone else's.",
        make_people(THREE_CHEATS[0]),
    ),
    _digits(
        "copier",
        "A copier",
        "盗作",
        "One member republishes another's update with a little noise.",
        "It earns nothing; the member it copied keeps its rank.",
        make_people(THREE_CHEATS[1]),
        victims={"Utsushi": "Aoba"},
    ),
    _digits(
        "poisoner",
        "A poisoner",
        "毒入れ",
        "One member trains on permuted labels.",
        "Its updates are harmful to every validator's hold-out and are left out.",
        make_people(THREE_CHEATS[2]),
    ),
    _digits(
        "sign-flip",
        "A sign flipper",
        "符号反転",
        "One member sends three times the opposite of its update.",
        "Left out as harmful.",
        make_people(Person("Sakasa", "trainer", "sign-flip")),
    ),
    _digits(
        "sybil-pair",
        "A Sybil pair",
        "一人二役",
        "One owner enrols twice with the same work.",
        "Together the two earn no more than one would have.",
        make_people(Person("Aoba II", "trainer", "copier", stake=100)),
        victims={"Aoba II": "Aoba"},
    ),
    _digits(
        "colluding-validators",
        "Colluding validators",
        "審査員の結託",
        "One validator in four lifts a free rider and lowers everyone else.",
        "The median ignores it, and its own pay shrinks.",
        tuple(
            replace(person, behaviour="colluder") if person.name == VALIDATORS[3] else person
            for person in make_people(THREE_CHEATS[0])
        ),
    ),
    _digits(
        "lazy-validator",
        "A lazy validator",
        "怠ける審査員",
        "One validator gives everybody the same score without looking.",
        "It takes the probe for good work and loses what was held back.",
        recast(make_people(), VALIDATORS[3], "lazy"),
    ),
    _digits(
        "zeros",
        "Scores that nobody worked for",
        "働かずに付けた点",
        "One validator writes zero for everybody, which the probes do not notice.",
        "Others recompute its sheets when the hold-outs are open; a quorum agrees, and it loses "
        "all that was held back for it.",
        recast(make_people(), VALIDATORS[3], "zeros"),
    ),
    _digits(
        "byzantine",
        "A traitor in the committee, and work that was not done",
        "裏切る検証者と、していない仕事",
        "Four validators agree on the place of every event; the first one, which leads, tells one "
        "of them something else than the others. A trainer fakes half of its work.",
        "Two signatures of its own prove the traitor, a replay the faker: both are out and lose "
        "stake; the order holds and every round is certified.",
        recast(
            make_people(Person("Mekki", "trainer", "faker"), canary=False),
            VALIDATORS[0],
            "equivocator",
        ),
        data={**DIGITS_DATA, "mode": "assigned"},
        validation={"ordering": "committee", "epoch_rounds": 4},
        audit={"mode": "replay", "checkpoint_every": 5, "segments": 3},
    ),
    _digits(
        "faker",
        "Work that was not done",
        "していない仕事",
        "One member fakes half of its training; everybody binds itself to a trace, of which drawn "
        "parts are trained again.",
        "The faker is caught, earns nothing and loses stake; no honest member is blamed.",
        make_people(Person("Mekki", "trainer", "faker"), canary=False),
        data={**DIGITS_DATA, "mode": "assigned"},
        audit={"mode": "replay", "checkpoint_every": 5, "segments": 3},
    ),
    _digits(
        "late",
        "A late reveal",
        "遅れた提出",
        "One member commits in time but reveals too late.",
        "No pay for those rounds, and no penalty.",
        make_people(),
        deadlines={"reveal_ms": 3_000, "grace_ms": 500},
        network=NetworkModel(extra_delay_ms={(NAMES[1], int(Kind.REVEAL)): 20_000}),
    ),
    _digits(
        "slow",
        "Two slow members",
        "遅い参加者が二人",
        "Two of eight members need five times as long; a round waits for six commitments only.",
        "The slow ones' work counts in later rounds, with less weight, and is paid.",
        make_people(honest=8),
        data={"source": "digits", "partition": "dirichlet", "alpha_ppm": 3_000_000},
        training={**TRAINING, "rounds": 12, "buffer": 6, "staleness_max": 8},
        network=NetworkModel(slowness_ppm=dict.fromkeys(NAMES[6:8], 5_000_000)),
    ),
    _digits(
        "crash",
        "A crash",
        "途中で落ちる",
        "A trainer and a validator crash; the trainer comes back.",
        "The run goes on; who was away is not paid for it and not blamed.",
        make_people(),
        network=NetworkModel(
            crashes={NAMES[2]: ((4_000, 40_000),), VALIDATORS[2]: ((6_000, 10**9),)}
        ),
        deadlines={**SHORT_MS, "train_ms_max": 20_000},
    ),
    _digits(
        "churn",
        "Churn 30 %",
        "3割が出入り",
        "Three in ten trainers leave and return; five in a hundred messages are lost.",
        "Every round is certified.",
        _NINE,
        network=_churn(_NINE),
        deadlines=SHORT_MS,
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
DEFAULT = _MAIN.name
