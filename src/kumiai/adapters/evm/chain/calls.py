"""eth_call and eth_estimateGas: execution without a trace, and how much gas a transaction needs."""

from __future__ import annotations

from dataclasses import replace

from kumiai.adapters.evm.chain.blocks import Header
from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.engine import (
    BlockContext,
    EngineError,
    InvalidTransactionError,
    Outcome,
)
from kumiai.adapters.evm.chain.errors import REVERTED, RpcError, refuse
from kumiai.adapters.evm.chain.params import CallRequest
from kumiai.adapters.evm.chain.sealing import make_call_context
from kumiai.adapters.evm.chain.transactions import GAS_BASE, Transaction

CALL_STIPEND = 2_300
ERROR_SELECTOR, PANIC_SELECTOR = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")
PANICS = {
    0x01: "assert(false)",
    0x11: "arithmetic underflow or overflow",
    0x12: "division or modulo by zero",
    0x21: "enum overflow",
    0x22: "invalid encoded storage byte array accessed",
    0x31: "out-of-bounds array access; popping on an empty array",
    0x32: "out-of-bounds access of an array or bytesN",
    0x41: "out of memory",
    0x51: "uninitialized function",
}


def call(chain: EmbeddedChain, request: CallRequest, header: Header) -> bytes:
    """What the call returns on the state of a block; RpcError where it reverts or fails."""
    is_free = not request.gas_price
    context = make_call_context(chain.builder, header, is_free=is_free)
    gas = min(request.gas or chain.genesis.gas_limit, chain.genesis.gas_limit)
    outcome = _execute(chain, request, gas, header, context)
    if outcome.failure is not None:
        raise explain_failure(outcome)
    return outcome.output


def estimate_gas(chain: EmbeddedChain, request: CallRequest, header: Header, now: int) -> int:
    """The least gas limit with which it succeeds in the block behind `header`, at second `now`.

    Found by bisection between what it used and what it may use: gas given back at the end and the
    63/64 rule of inner calls make the two differ.
    """
    context = chain.builder.make_context(header, now)
    if not request.gas_price:
        context = replace(context, base_fee=0)
    high = min(request.gas or chain.genesis.gas_limit, chain.genesis.gas_limit)
    high = min(high, _compute_affordable(chain, request, header, high))
    outcome = _execute(chain, request, high, header, context)
    if outcome.failure is not None:
        raise explain_failure(outcome)
    if request.data == b"" and outcome.gas_used == GAS_BASE:
        return GAS_BASE
    low = GAS_BASE - 1
    guess = (outcome.gas_used + outcome.refund + CALL_STIPEND) * 64 // 63
    # Less than it used is not enough, but where an inner call burnt all that it was given.
    for candidate in (
        outcome.gas_used - 1,
        outcome.gas_used,
        outcome.gas_used + outcome.refund,
        guess,
    ):
        if low < candidate < high:
            low, high = _narrow(chain, request, header, context, (low, high), candidate)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = _narrow(chain, request, header, context, (low, high), middle)
    return high


def _narrow(
    chain: EmbeddedChain,
    request: CallRequest,
    header: Header,
    context: BlockContext,
    span: tuple[int, int],
    gas: int,
) -> tuple[int, int]:
    try:
        is_enough = _execute(chain, request, gas, header, context).failure is None
    except RpcError:  # less than the intrinsic gas
        is_enough = False
    return (span[0], gas) if is_enough else (gas, span[1])


def _compute_affordable(
    chain: EmbeddedChain, request: CallRequest, header: Header, high: int
) -> int:
    if not request.gas_price:
        return high
    view = chain.engine.view(chain.store.nodes, header.state_root)
    left = view.get_account(request.sender).balance - request.value
    if left < 0:
        raise refuse("insufficient funds for transfer")
    if left // request.gas_price < GAS_BASE:
        raise refuse(f"gas required exceeds allowance ({left // request.gas_price})")
    return left // request.gas_price


def _execute(
    chain: EmbeddedChain, request: CallRequest, gas: int, header: Header, context: BlockContext
) -> Outcome:
    nodes, root = chain.store.nodes, header.state_root
    account = chain.engine.view(nodes, root).get_account(request.sender)
    it = Transaction(
        kind=2,
        chain_id=context.chain_id,
        nonce=account.nonce,
        gas_tip_cap=request.gas_tip or 0,
        gas_fee_cap=request.gas_price or 0,
        gas=gas,
        to=request.to,
        value=request.value,
        data=request.data,
        sender=request.sender,
        access_list=request.access_list,
    )
    if gas < it.intrinsic_gas or gas < it.floor_gas:
        needed = max(it.intrinsic_gas, it.floor_gas)
        raise refuse(f"intrinsic gas too low: have {gas}, want {needed}")
    if account.balance < it.cost_max:
        said = f"have {account.balance} want {it.cost_max}"
        raise refuse(f"insufficient funds for gas * price + value: {said}")
    try:
        return chain.engine.call(nodes, root, context, it)
    except InvalidTransactionError as error:
        raise refuse(str(error)) from None
    except EngineError as error:
        raise refuse(f"the call cannot be executed: {error}") from None


def explain_failure(outcome: Outcome) -> RpcError:
    """Reverts with code 3 and their data, as geth says them; other failures with -32000."""
    if outcome.failure != "revert":
        return refuse(str(outcome.failure))
    data = outcome.output
    reason = ""
    if data[:4] == ERROR_SELECTOR and len(data) >= 68:
        size = int.from_bytes(data[36:68], "big")
        reason = data[68 : 68 + min(size, 1_024)].decode("utf-8", "replace")
    elif data[:4] == PANIC_SELECTOR and len(data) == 36:
        code = int.from_bytes(data[4:], "big")
        reason = f"panic: {PANICS.get(code, 'unknown panic code')} ({hex(code)})"
    message = f"execution reverted: {reason}" if reason else "execution reverted"
    return RpcError(REVERTED, message, "0x" + data.hex())
