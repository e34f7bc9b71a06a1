"""The methods of JSON-RPC over one embedded chain, as geth answers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kumiai.adapters.evm.chain.block_methods import BlockMethods
from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.dev_methods import DevMethods
from kumiai.adapters.evm.chain.errors import NO_METHOD, RpcError, reject_params
from kumiai.adapters.evm.chain.log_methods import LogMethods
from kumiai.adapters.evm.chain.lookup import Lookup
from kumiai.adapters.evm.chain.rendering import to_hex
from kumiai.adapters.evm.chain.state_methods import StateMethods

PREFIX = "do_"

Method = Callable[..., object]


class Rpc:
    """Answers method names and parameters; a fault of the caller is an RpcError."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain = chain
        self.logs = LogMethods(chain)
        groups: list[Lookup] = [StateMethods(chain), BlockMethods(chain), self.logs]
        if chain.is_dev:
            groups.append(DevMethods(chain))
        self._methods: dict[str, Method] = {
            name.removeprefix(PREFIX): getattr(group, name)
            for group in groups
            for name in dir(group)
            if name.startswith(PREFIX)
        }

    def request(self, method: str, params: Sequence[object] = ()) -> object:
        """The result; RpcError where there is none."""
        found = self._methods.get(method)
        if found is None:
            said = f"the method {method[:100]} does not exist/is not available"
            raise RpcError(NO_METHOD, said)
        if isinstance(params, str | bytes | Mapping) or not isinstance(params, Sequence):
            raise reject_params("params: a list is expected")
        try:
            return found(*params)
        except TypeError as error:
            # too few or too many: told by the call itself, not by what happens within it
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise reject_params(f"wrong number of arguments: {error}") from None
            raise

    def send_many(self, raws: Sequence[bytes]) -> list[str | Exception]:
        """eth_sendRawTransaction for many at once: they share blocks."""
        answers = self.chain.submit_many(raws)
        return [to_hex(it) if isinstance(it, bytes) else it for it in answers]
