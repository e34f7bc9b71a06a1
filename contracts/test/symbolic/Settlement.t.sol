// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IArena} from "../../src/IArena.sol";
import {ArenaState} from "../../src/arena/State.sol";
import {Base} from "./Base.sol";

/// A committee of one, which signs.
abstract contract SettlementBase is Base {
    uint256 private constant KEY = 0xBEEF;

    function _committee() internal pure returns (address[] memory members) {
        members = new address[](1);
        members[0] = vm.addr(KEY);
    }

    function _quorum(bytes32 digest) internal pure returns (IArena.Quorum memory q) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, digest);
        vm.assume(v == 27 || v == 28);
        vm.assume(uint256(s) <= 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0);
        q.members = _committee();
        q.signers = 1;
        q.signatures = abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    function _open(uint128 escrow, uint128 locked, uint128 unclaimed) internal {
        ArenaState.State memory s = _blank(IArena.Status.Running);
        (s.escrow, s.locked, s.unclaimed) = (escrow, locked, unclaimed);
        s.committee = keccak256(abi.encodePacked(_committee()));
        arena.putState(TASK, s);
    }

    function _certificate(uint128 paid, uint128 locked, bool isFinal)
        internal
        pure
        returns (IArena.Certificate memory c)
    {
        (c.task, c.round, c.paid, c.locked, c.isFinal) = (TASK, 1, paid, locked, isFinal);
        c.slashes = NO_SLASHES;
    }

    function _settle(IArena.Certificate memory c) internal returns (bool isSettled) {
        IArena.Quorum memory q = _quorum(arena.computeDigest(c));
        try arena.settle(c, new IArena.Slash[](0), q) {
            isSettled = true;
        } catch {}
    }
}

/// Money is moved between a task's pots and never made or lost; and only by a quorum's word.
contract SettlementCheck is SettlementBase {
    /// A round moves what it pays and locks out of the escrow, or nothing at all.
    function check_aRoundConservesMoney(uint96 escrow, uint96 locked, uint96 pay, uint96 lock)
        external
    {
        _open(escrow, locked, 0);
        uint256 sum = uint256(escrow) + locked;
        bool isSettled = _settle(_certificate(pay, lock, false));
        if (uint256(pay) + lock > escrow) assert(!isSettled);
        assert(arena.sumPots(TASK) == sum);
    }

    /// What a round moves is what its certificate says.
    function check_aRoundMovesWhatIsCertified(uint64 escrow, uint64 pay, uint64 lock) external {
        _open(escrow, 7, 5);
        bool isSettled = _settle(_certificate(pay, lock, false));
        IArena.Task memory t = arena.getTask(TASK);
        if (!isSettled) return assert(t.escrow == escrow && t.locked == 7 && t.paid == 0);
        assert(uint256(t.escrow) + pay + lock == escrow);
        assert(t.locked == 7 + uint256(lock) && t.unclaimed == 5 + uint256(pay) && t.paid == pay);
    }

    /// The end pays out of the locked pot alone; its rest goes back to the escrow.
    function check_theEndConservesMoney(uint128 escrow, uint128 locked, uint128 pay, uint128 lock)
        external
    {
        _open(escrow, locked, 0);
        uint256 sum = uint256(escrow) + locked;
        bool isSettled = _settle(_certificate(pay, lock, true));
        IArena.Task memory t = arena.getTask(TASK);
        assert(arena.sumPots(TASK) == sum);
        if (pay > locked || lock != 0) assert(!isSettled);
        if (isSettled) {
            assert(t.locked == 0 && t.unclaimed == pay && t.status == IArena.Status.Closed);
            assert(uint256(t.escrow) == uint256(escrow) + locked - pay);
        }
    }

    /// No signature, no settlement: whatever bytes stand where the signature should be.
    function check_withoutAQuorumNothingMoves(uint128 pay, uint256 signers) external {
        address[] memory one = new address[](1);
        one[0] = address(0x1000); // not the sender, who may certify by calling where it sits alone
        ArenaState.State memory s = _blank(IArena.Status.Running);
        (s.escrow, s.committee) = (pay, keccak256(abi.encodePacked(one)));
        arena.putState(TASK, s);
        IArena.Quorum memory q;
        q.members = one;
        q.signers = signers;
        try arena.settle(_certificate(pay, 0, false), new IArena.Slash[](0), q) {
            assert(false);
        } catch {}
        assert(arena.getTask(TASK).escrow == pay);
    }

    /// A committee of four: two signatures are no quorum, whoever they are said to be from.
    function check_twoOfFourAreNoQuorum(uint256 signers, bytes32 r, bytes32 vs) external {
        address[] memory four = new address[](4);
        for (uint160 i; i < 4; ++i) four[i] = address(0x1000 + i);
        ArenaState.State memory s = _blank(IArena.Status.Running);
        (s.escrow, s.committee) = (100, keccak256(abi.encodePacked(four)));
        arena.putState(TASK, s);
        IArena.Quorum memory q =
            IArena.Quorum(four, signers, abi.encodePacked(r, vs, r, vs));
        try arena.settle(_certificate(100, 0, false), new IArena.Slash[](0), q) {
            assert(false);
        } catch {}
    }

    /// For every size of a committee: a quorum is more than two thirds of it, two quorums share
    /// an honest member, and the honest ones alone are a quorum.
    function check_quorumsIntersect(uint8 n) external pure {
        vm.assume(n >= 1 && n <= 128);
        uint256 size = n;
        uint256 faulty = (size - 1) / 3;
        uint256 quorum = (size + faulty) / 2 + 1;
        assert(3 * quorum > 2 * size || (size - 1) % 3 != 0);
        assert(2 * quorum > size + faulty);
        assert(size - faulty >= quorum);
    }
}

/// halmos proves what holds on every path, also if there is none. These must therefore FAIL: they
/// show that a signed certificate does come through.
contract ReachableCheck is SettlementBase {
    function check_failsSinceAQuorumSettlesARound(uint64 pay) external {
        _open(type(uint64).max, 0, 0);
        assert(!_settle(_certificate(pay, 0, false)));
    }

    function check_failsSinceAQuorumSettlesTheEnd(uint64 pay) external {
        _open(0, type(uint64).max, 0);
        assert(!_settle(_certificate(pay, 0, true)));
    }
}
