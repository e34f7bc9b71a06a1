"""The contract ABI as typed Python: what the generated bindings are made of.

Values: integers are int, bytesN and bytes are bytes, addresses lower-case hex, structs frozen
dataclasses, arrays tuples. Encoding and decoding of words is eth_abi's; nothing that a node returns
is believed to fit: what does not decode raises LyingNodeError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError

from kumiai.adapters.evm.errors import LyingNodeError, RevertedError
from kumiai.base.keys import keccak256

T_co = TypeVar("T_co", covariant=True)
_ERROR_STRING = bytes.fromhex("08c379a0")  # Error(string)
_PANIC = bytes.fromhex("4e487b71")  # Panic(uint256)
_PANICS = {1: "assertion failed", 0x11: "arithmetic overflow", 0x12: "division by zero",
           0x32: "index out of bounds", 0x41: "out of memory"}  # fmt: skip


class Struct:
    """A Solidity struct; subclasses are dataclasses whose fields are in the ABI's order."""

    __slots__ = ()
    ABI: ClassVar[str]  # the tuple of its types, as (bytes32,address)
    SHAPES: ClassVar[Mapping[str, tuple[str, type[Struct]]]] = {}  # fields that hold structs


StructType = type[Struct]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: its name, its ABI type, whether it is indexed, the struct it holds (or None)."""

    name: str
    type: str
    is_indexed: bool = False
    struct: StructType | None = None


Structs = Mapping[str, type[Struct]]  # by the name that signatures use


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a contract."""

    name: str
    selector: bytes
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One call with its arguments: `data` is what a transaction or eth_call carries."""

    function: Function
    arguments: tuple[Any, ...]

    @property
    def data(self) -> bytes:
        """Selector and arguments; ValueError where an argument does not fit its type."""
        kinds = [parameter.type for parameter in self.function.inputs]
        try:
            return self.function.selector + encode(kinds, [_lower(a) for a in self.arguments])
        except (EncodingError, TypeError, OverflowError) as error:
            raise ValueError(f"{self.function.name}: {error}") from error

    def decode(self, data: bytes) -> T_co:
        """Return what the function returned: nothing, one value, or a tuple of them."""
        values = _decode(self.function.name, self.function.outputs, data)
        if not values:
            return cast("T_co", None)
        return cast("T_co", values[0] if len(values) == 1 else values)


@dataclass(frozen=True, slots=True)
class Log:
    """A log as it stands in a block; `topics` and `data` are not yet decoded."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: str
    transaction_hash: str
    index: int


class Event:
    """An event of a contract; subclasses are dataclasses with the event's parameters as fields."""

    __slots__ = ()
    SIGNATURE: ClassVar[str]  # as `Staked(bytes32 indexed task, Role role)`
    STRUCTS: ClassVar[Structs] = {}
    NAME: ClassVar[str]
    TOPIC: ClassVar[bytes]
    PARAMETERS: ClassVar[tuple[Parameter, ...]]

    def __init_subclass__(cls) -> None:
        cls.NAME, cls.PARAMETERS = parse_signature(cls.SIGNATURE, cls.STRUCTS)
        cls.TOPIC = hash_signature(cls.NAME, cls.PARAMETERS)

    @classmethod
    def from_log(cls, log: Log) -> Self:
        """Decode a log; LyingNodeError where it is not such an event's."""
        indexed = [p for p in cls.PARAMETERS if p.is_indexed]
        plain = [p for p in cls.PARAMETERS if not p.is_indexed]
        if not log.topics or log.topics[0] != cls.TOPIC or len(log.topics) != 1 + len(indexed):
            raise LyingNodeError(f"a log of {log.transaction_hash} is no {cls.NAME}")
        values = dict(zip((p.name for p in plain), _decode(cls.NAME, plain, log.data), strict=True))
        for parameter, topic in zip(indexed, log.topics[1:], strict=True):
            if _is_hashed(parameter.type):
                values[parameter.name] = topic  # only its hash is in the log
            else:
                (values[parameter.name],) = _decode(cls.NAME, [parameter], topic)
        return cls(**values)


class ContractError:
    """A custom error of a contract; subclasses are dataclasses with its parameters as fields."""

    __slots__ = ()
    SIGNATURE: ClassVar[str]
    STRUCTS: ClassVar[Structs] = {}
    NAME: ClassVar[str]
    SELECTOR: ClassVar[bytes]
    PARAMETERS: ClassVar[tuple[Parameter, ...]]

    def __init_subclass__(cls) -> None:
        cls.NAME, cls.PARAMETERS = parse_signature(cls.SIGNATURE, cls.STRUCTS)
        cls.SELECTOR = hash_signature(cls.NAME, cls.PARAMETERS)[:4]


def parse_signature(text: str, structs: Structs) -> tuple[str, tuple[Parameter, ...]]:
    """Read `name(type [indexed] name, ...)`; a type is an elementary one, or one of `structs`."""
    name, _, rest = text.removesuffix(")").partition("(")
    parameters = []
    for words in (part.split() for part in rest.split(",") if part):
        base, bracket, size = words[0].partition("[")
        struct = structs.get(base)
        kind = (base if struct is None else struct.ABI) + bracket + size
        parameters.append(Parameter(words[-1], kind, "indexed" in words[1:-1], struct))
    return name, tuple(parameters)


def hash_signature(name: str, parameters: Sequence[Parameter]) -> bytes:
    """Return keccak of the canonical signature: an event's topic; its first 4 bytes: a selector."""
    return keccak256(f"{name}({','.join(p.type for p in parameters)})".encode())


def make_function(signature: str, outputs: str, structs: Structs) -> Function:
    """Return the function of a signature; `outputs` as `(type name, ...)`."""
    name, inputs = parse_signature(signature, structs)
    selector = hash_signature(name, inputs)[:4]
    return Function(name, selector, inputs, parse_signature(outputs, structs)[1])


def collect_events(module: Mapping[str, Any]) -> dict[bytes, type[Event]]:
    """Return the events among a module's globals, by topic."""
    kinds = [k for k in module.values() if isinstance(k, type) and issubclass(k, Event)]
    return {kind.TOPIC: kind for kind in kinds if kind is not Event}


def collect_errors(module: Mapping[str, Any]) -> dict[bytes, type[ContractError]]:
    """Return the errors among a module's globals, by selector."""
    kinds = [k for k in module.values() if isinstance(k, type) and issubclass(k, ContractError)]
    return {kind.SELECTOR: kind for kind in kinds if kind is not ContractError}


EventTypes = Mapping[bytes, type[Event]]  # by topic
ErrorTypes = Mapping[bytes, type[ContractError]]  # by selector


def decode_log(log: Log, events: EventTypes) -> Event | None:
    """Return the typed event, or None where its topic is none of `events`."""
    kind = events.get(log.topics[0]) if log.topics else None
    return None if kind is None else kind.from_log(log)


def decode_revert(data: bytes, errors: ErrorTypes) -> ContractError | str | None:
    """Return the custom error, the text of Error(string) or Panic, or None."""
    selector, rest = data[:4], data[4:]
    try:
        if selector == _ERROR_STRING:
            return str(decode(["string"], rest)[0])
        if selector == _PANIC:
            number = int(decode(["uint256"], rest)[0])
            return f"panic 0x{number:02x}: {_PANICS.get(number, 'a fault in the contract')}"
        kind = errors.get(selector)
        if kind is None:
            return None
        values = _decode(kind.NAME, kind.PARAMETERS, rest)
    except (DecodingError, LyingNodeError, UnicodeDecodeError, OverflowError):
        return None
    return kind(*values)


def explain_revert(
    error: RevertedError, errors: ErrorTypes, advice: Mapping[str, str]
) -> RevertedError:
    """Return the same refusal with its decoded error and the sentence that tells what to do."""
    found = decode_revert(error.data, errors)
    if isinstance(found, ContractError):
        pairs = zip(fields(cast("Any", found)), _values_of(found), strict=True)
        shown = ", ".join(f"{field.name} = {_show(value)}" for field, value in pairs)
        sentence = advice.get(found.NAME, "")
        text = f"the contract refused: {found.NAME}({shown})"
        return RevertedError(text, error.data, error=found, advice=sentence)
    if isinstance(found, str):
        return RevertedError(f"the contract refused: {found}", error.data)
    if error.data:
        selector = error.data[:4].hex()
        return RevertedError(f"the contract refused, error 0x{selector} (unknown)", error.data)
    return RevertedError(error.detail, error.data)


def _values_of(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, field.name) for field in fields(value))


def _show(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _lower(value: Any) -> Any:
    """Structs to tuples, all the way down, as eth_abi takes them."""
    if isinstance(value, Struct):
        return tuple(_lower(v) for v in _values_of(value))
    if isinstance(value, list | tuple):
        return [_lower(v) for v in value]
    return value


def _shape(value: Any, kind: str, struct: type[Struct] | None) -> Any:
    """Tuples to structs, all the way up."""
    if struct is None:
        return value
    if kind.endswith("]"):
        return tuple(_shape(v, "", struct) for v in value)
    names = [field.name for field in fields(cast("Any", struct))]
    pairs = zip(names, value, strict=True)
    return struct(*(_shape(v, *struct.SHAPES.get(name, ("", None))) for name, v in pairs))


def _decode(name: str, parameters: Sequence[Parameter], data: bytes) -> tuple[Any, ...]:
    try:
        values = decode([p.type for p in parameters], data)
    except (DecodingError, UnicodeDecodeError, OverflowError) as error:
        raise LyingNodeError(f"what came back is no {name} ({type(error).__name__})") from error
    return tuple(_shape(v, p.type, p.struct) for p, v in zip(parameters, values, strict=True))


def _is_hashed(kind: str) -> bool:
    return kind in {"string", "bytes"} or kind.endswith("]") or kind.startswith("(")
