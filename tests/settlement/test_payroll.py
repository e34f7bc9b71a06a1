"""The tree of cumulative pay: its proofs lead to the root, and nothing else does."""

import pytest
from eth_abi import encode
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from kumiai.settlement import payroll

TASK = bytes(range(32))
ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
PAY = st.dictionaries(ADDRESSES, st.integers(0, 2**128 - 1), max_size=40)


def naive_root(task: bytes, cumulative: dict[str, int]) -> bytes:
    """The same tree with the chain's own encoder, level by level."""
    level = [
        keccak(keccak(encode(["bytes32", "address", "uint128"], [task, account, amount])))
        for account, amount in sorted(cumulative.items())
        if amount
    ]
    if not level:
        return bytes(32)
    while len(level) > 1:
        pairs = [sorted(level[i : i + 2]) for i in range(0, len(level), 2)]
        level = [keccak(b"".join(pair)) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


@given(PAY)
def test_the_root_is_the_naive_one_and_every_proof_leads_to_it(cumulative):
    root = payroll.compute_pay_root(TASK, cumulative)
    assert root == naive_root(TASK, cumulative)
    proofs = payroll.compute_pay_proofs(TASK, cumulative)
    assert set(proofs) == {account for account, amount in cumulative.items() if amount}
    for account, proof in proofs.items():
        assert (proof.account, proof.cumulative) == (account, cumulative[account])
        assert payroll.is_payable(TASK, proof, root)
        assert len(proof.path) <= max(0, len(proofs) - 1).bit_length()


@given(PAY.filter(lambda pay: any(pay.values())), st.integers(1, 2**64))
def test_no_other_amount_account_or_task_is_payable(cumulative, more):
    root = payroll.compute_pay_root(TASK, cumulative)
    account, proof = next(iter(payroll.compute_pay_proofs(TASK, cumulative).items()))
    bigger = payroll.PayProof(account, proof.cumulative + more, proof.path)
    other = "0x" + bytes(b ^ 1 for b in bytes.fromhex(account[2:])).hex()
    assert not payroll.is_payable(TASK, bigger, root)
    assert not payroll.is_payable(TASK, payroll.PayProof(other, proof.cumulative, proof.path), root)
    assert not payroll.is_payable(TASK[::-1], proof, root)


def test_an_inner_node_is_no_leaf():
    cumulative = {"0x" + f"{i:040x}": i for i in range(1, 5)}
    root = payroll.compute_pay_root(TASK, cumulative)
    proof = payroll.compute_pay_proofs(TASK, cumulative)["0x" + f"{1:040x}"]
    short = payroll.PayProof(proof.account, proof.cumulative, proof.path[1:])
    assert not payroll.is_payable(TASK, short, root)


@pytest.mark.parametrize(
    ("account", "amount"),
    [("0x" + "0" * 39, 1), ("0x" + "A" * 40, 1), ("00" * 21, 1), ("0x" + "0" * 40, -1)],
)
def test_what_is_no_address_or_amount_is_refused(account, amount):
    with pytest.raises(ValueError, match=account if amount > 0 else "-1"):
        payroll.compute_pay_root(TASK, {account: amount})


def test_more_than_the_chain_holds_is_refused():
    with pytest.raises(ValueError, match="128"):
        payroll.compute_pay_root(TASK, {"0x" + "0" * 40: 2**128})
