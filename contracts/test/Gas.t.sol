// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";

/// What the calls cost as transactions of their own: 21,000, their calldata, and what they execute
/// on storage that nobody touched before. `forge test --match-contract GasTest -vv` prints it.
abstract contract GasTest is Fixture {
    event log_named_uint(string what, uint256 gas);

    IArena.Certificate private next;
    bytes32[] private deep; // the proof of one of 65,536 leaves
    bytes32[] private flat; // of one of 120
    IArena.Claim[] private many; // of one of 65,536
    uint256 private constant CROWD = 64;

    function setUp() public override {
        super.setUp();
        (keys, committee) = _people(_size(), 1000);
        _run(1_000_000);
        _prepareRoots();
        next = _certificate(6, 100, 10, "payments");
    }

    /// How many validators sit in the committee.
    function _size() internal pure virtual returns (uint256);

    /// A round after the first; how many members it pays is not part of the cost.
    function _settleGas() internal returns (uint256) {
        IArena.Quorum memory quorum = _quorum(arena.computeDigest(next));
        return _send(abi.encodeCall(arena.settle, (next, new IArena.Slash[](0), quorum)));
    }

    /// One of 120 leaves; not the account's first claim.
    function _claimGas() internal returns (uint256) {
        return _send(abi.encodeCall(arena.claim, (task, 2, trainer, 6, flat)));
    }

    /// One of 65,536 leaves; not the account's first claim.
    function _deepClaimGas() internal returns (uint256) {
        return _send(abi.encodeCall(arena.claim, (task, 3, trainer, 7, deep)));
    }

    /// `CROWD` leaves of 65,536 by one sender, each account's claim beyond its first: gas a claim.
    function _manyGas() internal returns (uint256) {
        return _send(abi.encodeCall(arena.claimMany, (task, 5, many))) / CROWD;
    }

    /// Send `data` as a transaction would, and say what it costs.
    function _send(bytes memory data) private returns (uint256 gas) {
        uint256 intrinsic = 21_000;
        for (uint256 i; i < data.length; ++i) {
            intrinsic += data[i] == 0 ? 4 : 16;
        }
        address target = address(arena);
        arena.arbiter(); // a transaction's receiver is warm
        uint256 before = gasleft();
        (bool done,) = target.call(data);
        gas = intrinsic + before - gasleft();
        _true(done, "call");
    }

    function _prepareRoots() private {
        bytes32 first = _leaf(trainer, 5);
        bytes32 second = _leaf(trainer, 6);
        bytes32 third = _leaf(trainer, 7);
        for (uint256 i; i < 16; ++i) {
            bytes32 sibling = keccak256(abi.encode(i));
            deep.push(sibling);
            third = _pair(third, sibling);
            if (i >= 7) continue;
            flat.push(sibling);
            second = _pair(second, sibling);
        }
        credit.mint(trainer, 1); // an account that holds some already
        _settle(_certificate(1, 50, 5, first));
        _settle(_certificate(2, 50, 5, second));
        _settle(_certificate(3, 50, 5, third));
        _settle(_certificate(4, 64, 0, _crowd(1)));
        _settle(_certificate(5, 64, 0, _crowd(2)));
        vm.warp(block.timestamp + 1 hours);
        _claim(1, trainer, 5);
        _crowd(1);
        arena.claimMany(task, 4, many);
        _crowd(2);
    }

    /// The root of a tree of 65,536 leaves over accounts with `cumulative` each; `many` takes them.
    function _crowd(uint128 cumulative) private returns (bytes32 root) {
        delete many;
        bytes32[] memory layer = new bytes32[](CROWD);
        for (uint160 i; i < CROWD; ++i) {
            layer[i] = _leaf(address(0x200000 + i), cumulative);
        }
        for (uint160 i; i < CROWD; ++i) {
            (bytes32 top, bytes32[] memory low) = _prove(layer, i);
            IArena.Claim storage item = many.push();
            (item.account, item.cumulative) = (address(0x200000 + i), cumulative);
            for (uint256 j; j < low.length; ++j) {
                item.proof.push(low[j]);
            }
            root = top;
            for (uint256 j; j < 10; ++j) {
                bytes32 sibling = keccak256(abi.encode("crowd", j));
                item.proof.push(sibling);
                root = _pair(root, sibling);
            }
        }
    }
}

contract BigGasTest is GasTest {
    function _size() internal pure override returns (uint256) {
        return 31;
    }

    function test_settlingBy21Of31Signatures() public {
        uint256 gas = _settleGas();
        emit log_named_uint("settle, 31 validators", gas);
        _true(gas <= 250_000, "250,000");
    }

    function test_aClaimAmong65536Leaves() public {
        uint256 gas = _deepClaimGas();
        emit log_named_uint("claim alone, 65,536 leaves", gas);
        _true(gas <= 75_000, "75,000");
    }

    function test_claimsByOneSenderAmong65536Leaves() public {
        uint256 gas = _manyGas();
        emit log_named_uint("claim beside 63 others, 65,536 leaves", gas);
        _true(gas <= 60_000, "60,000");
    }
}

/// A hundred trainers and twenty validators, each claiming every tenth round.
contract RoundGasTest is GasTest {
    function _size() internal pure override returns (uint256) {
        return 20;
    }

    function test_aRoundCostsAParticipantAtMost7000() public {
        uint256 settled = _settleGas();
        uint256 alone = _claimGas();
        uint256 together = _manyGas();
        // every sixth round begins a slot of activation times: 20,000 instead of 2,900
        uint256 ten = 10 * settled + 2 * 17_100;
        emit log_named_uint("settle, 20 validators", settled);
        emit log_named_uint("claim alone, 120 leaves", alone);
        emit log_named_uint("a participant a round, each claims alone", (ten + 120 * alone) / 1200);
        emit log_named_uint("a participant a round, one claims for all", (ten + 120 * together) / 1200);
        _true((ten + 120 * alone) / 1200 <= 8200, "8,200 a participant");
        _true((ten + 120 * together) / 1200 <= 7000, "7,000 a participant");
    }
}

/// Ten thousand people lend to one node: what it costs to slash them all.
contract CrowdGasTest is Fixture {
    event log_named_uint(string what, uint256 gas);

    uint256 private constant CROWD = 10_000;

    function setUp() public override {
        super.setUp();
        IArena.Terms memory t = _terms();
        t.document = "crowd";
        t.token = address(0);
        task = _create(t);
        for (uint256 i; i < 4; ++i) {
            vm.deal(committee[i], 1000);
            vm.prank(committee[i]);
            arena.stake{value: 1000}(task, IArena.Role.Validator, 1000, "crowd", 0, "");
        }
        for (uint160 i; i < CROWD; ++i) {
            _lend(address(0x100000 + i), committee[0]);
        }
        _lend(address(0x100000), committee[1]);
        vm.prank(customer);
        arena.start(task, committee);
    }

    function test_slashingANodeBehindTenThousand() public {
        _slashGas(committee[0]);
        _equal(arena.getDelegated(task, committee[0]), CROWD * 75, "a quarter of everything");
        _equal(arena.getDelegation(task, committee[0], address(0x100777)), 75, "of each");
    }

    function test_slashingANodeBehindOne() public {
        _slashGas(committee[1]);
    }

    function _lend(address lender, address node) private {
        vm.deal(lender, 100);
        vm.prank(lender);
        arena.delegate{value: 100}(task, node, 100);
    }

    function _slashGas(address node) private {
        IArena.Slash[] memory slashes = _slashes(node, 500, "e");
        IArena.Quorum memory quorum = _quorum(_verdictDigest(slashes));
        uint256 before = gasleft();
        arena.slash(task, slashes, quorum);
        uint256 gas = before - gasleft();
        emit log_named_uint("slash, without calldata", gas);
        _true(gas < 100_000, "independent of who lent");
    }
}
