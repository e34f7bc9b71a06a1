"""The words of the report and the terminal, in English and Japanese.

A catalogue is a flat JSON object `locales/<language>.json`: key -> sentence with `{named}` places.
Both have the same keys and the same places (a test checks it). `key.one` is used when n = 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from kumiai.apps.view import MemberView
from kumiai.learning.text_loss import compute_bits_per_byte

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")


@dataclass(frozen=True, slots=True)
class Texts:
    """One language's catalogue."""

    language: Language
    entries: dict[str, str]

    def has(self, key: str) -> bool:
        return key in self.entries

    def template(self, key: str, n: object = None) -> str:
        """The sentence with its places still open; KeyError if the catalogue lacks it."""
        if n == 1 and f"{key}.one" in self.entries:
            return self.entries[f"{key}.one"]
        return self.entries[key]

    def text(self, key: str, **places: object) -> str:
        """The sentence with its places filled. Values are never read as templates."""
        return self.template(key, places.get("n")).format(**self.localise(places))

    def localise(self, places: dict[str, object]) -> dict[str, object]:
        """The same places, with the money's unit in this language."""
        if "unit" not in places:
            return places
        return {**places, "unit": self.unit(str(places["unit"]))}

    def unit(self, unit: str) -> str:
        """The money's unit as people say it of many: "points", but "JPY"."""
        if f"unit.{unit}" in self.entries:
            return self.entries[f"unit.{unit}"]
        is_word = self.language == "en" and unit.isalpha() and unit.islower()
        return f"{unit}s" if is_word and not unit.endswith("s") else unit

    def name(self, group: str, code: str) -> str:
        """The word for a code of ours (`role.trainer`), or the code itself if nobody named it."""
        return self.entries.get(f"{group}.{code}", code)

    def reason(self, sentence: str, code: str) -> str:
        """A member's reason in this language.

        The signed sentence is English and says the most; other languages use the sentence of its
        code, and fall back to the signed one rather than to nothing.
        """
        translated = self.entries.get(f"reason.{code}", "") if code else ""
        if self.language == "en":
            return sentence or translated
        return translated or sentence

    def conclude(self, member: MemberView) -> str:
        """The reason of a member's verdict; where other rounds paid it, in how many it was so."""
        why = self.reason(member.reason, member.reason_code)
        rounds = member.round_verdicts
        count = rounds.count(member.verdict)
        if not member.reward or member.verdict not in ("INVALID", "INCONCLUSIVE") or not count:
            return why
        return self.text("reason.partly", count=count, total=len(rounds), reason=why)


@cache
def load_texts(language: Language) -> Texts:
    """The catalogue of `language`; ValueError for a language that has none."""
    if language not in LANGUAGES:
        raise ValueError(f"no catalogue for {language!r}; there are {', '.join(LANGUAGES)}")
    source = files("kumiai.apps.report") / "locales" / f"{language}.json"
    return Texts(language, json.loads(source.read_text(encoding="utf-8")))


def format_amount(amount: int) -> str:
    """1234567 -> "1,234,567"."""
    return f"{amount:,}"


def format_percent(ppm: int | None, digits: int = 1) -> str:
    """941_000 -> "94.1%"; None -> an en dash."""
    return "–" if ppm is None else f"{ppm / 10_000:.{digits}f}%"


def format_nat(ppm: int, signed: bool = True, digits: int = 4) -> str:
    """Millionths of a nat as nats, with a real minus sign, and none before a zero."""
    text = f"{abs(ppm) / 1_000_000:.{digits}f}"
    if not signed or float(text) == 0:
        return text
    return f"{'−' if ppm < 0 else '+'}{text}"


def format_bits(loss_ppm: int | None, token_bytes_ppm: int) -> str:
    """Bits a byte of a loss in millionths of a nat a token; None -> an en dash."""
    if loss_ppm is None or not token_bytes_ppm:
        return "–"
    # a ratio: the two millionths cancel
    return f"{compute_bits_per_byte(loss_ppm, token_bytes_ppm):.2f}"


def format_epsilon(milli: int) -> str:
    """Thousandths of epsilon, never shown smaller than they are: 8_248 -> "8.25"."""
    return f"{-(-milli // 10) / 100:.2f}"


def format_width(ppm: int) -> str:
    """The width of a model: 250_000 -> "25%"; 0 -> an en dash (no model)."""
    if not ppm:
        return "–"
    return f"{ppm / 10_000:.0f}%" if ppm % 10_000 == 0 else f"{ppm / 10_000:.1f}%"


def format_scaled(value: float, units: tuple[str, ...], base: int = 1000) -> str:
    """Three significant digits with the fitting unit: 2_930_000 bytes -> "2.93 MB"."""
    step = 0
    while abs(value) >= base and step < len(units) - 1:
        value /= base
        step += 1
    if step == 0 and value == int(value):
        return f"{int(value)} {units[0]}"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f} {units[step]}"


def format_bytes(count: float) -> str:
    """In decimal units: 2_930_000 -> "2.93 MB"."""
    return format_scaled(count, ("B", "kB", "MB", "GB", "TB", "PB"))


def format_flop(count: float) -> str:
    """2_500_000_000 -> "2.50 GFLOP"."""
    return format_scaled(
        count, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP", "YFLOP")
    )


def format_seconds(seconds: float) -> str:
    """4.25 -> "4.2 s"; 75 -> "1 min 15 s"; 7_300 -> "2 h 01 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
