// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IArena} from "../../src/IArena.sol";
import {ArenaState} from "../../src/arena/State.sol";
import {Base} from "./Base.sol";
import {SeededSymbolicArena, SymbolicArena} from "./SymbolicArena.sol";

/// What an account gets is its highest cumulative pay, once, however and in whatever order it asks.
contract ClaimsCheck is Base {
    function _open(uint128 unclaimed) private {
        vm.assume(unclaimed <= COINS); // the arena has what it owes
        ArenaState.State memory s = _blank(IArena.Status.Running);
        s.unclaimed = unclaimed;
        arena.putState(TASK, s);
    }

    /// One leaf under two rounds' roots, or under one root twice: paid once.
    function check_aLeafIsPaidOnce(uint8 which, uint128 cumulative, uint128 pot) external {
        _open(pot);
        uint32 first = 1;
        uint32 second = which == 0 ? 1 : which == 1 ? 2 : 7; // 7: its time lies in another slot
        arena.putRoot(TASK, first, _leaf(ALICE, cumulative));
        if (second != first) arena.putRoot(TASK, second, _leaf(ALICE, cumulative));
        vm.assume(_claim(first, cumulative));
        assert(!_claim(second, cumulative));
        assert(ALICE.balance == cumulative);
        assert(arena.sumPots(TASK) == pot - cumulative);
    }

    /// Two rounds, claimed in either order: together the higher of the two.
    function check_claimsAreCumulative(uint128 low, uint128 high, uint128 pot, bool lowFirst)
        external
    {
        vm.assume(low < high && high <= pot && low != 0);
        _open(pot);
        arena.putRoot(TASK, 1, _leaf(ALICE, low));
        arena.putRoot(TASK, 2, _leaf(ALICE, high));
        bool paidLow = lowFirst && _claim(1, low);
        assert(_claim(2, high));
        assert(paidLow == lowFirst);
        assert(!_claim(1, low));
        assert(ALICE.balance == high);
        assert(arena.getClaimed(TASK, ALICE) == high);
    }

    /// Whatever a root says: no more than the task's unclaimed pot leaves the arena.
    function check_noClaimAboveThePot(uint128 cumulative, uint128 pot) external {
        _open(pot);
        arena.putRoot(TASK, 1, _leaf(ALICE, cumulative));
        vm.assume(_claim(1, cumulative));
        assert(cumulative <= pot);
    }

    /// Another amount than the leaf's is never paid.
    function check_onlyTheLeafIsPaid(uint128 cumulative, uint128 asked) external {
        vm.assume(cumulative != asked);
        _open(COINS);
        arena.putRoot(TASK, 1, _leaf(ALICE, cumulative));
        assert(!_claim(1, asked));
    }
}

/// The same checks aimed at the planted fault: halmos must find it.
contract SeededClaimsCheck is ClaimsCheck {
    function _deploy() internal override returns (SymbolicArena) {
        return new SeededSymbolicArena(address(this), JUDGE);
    }
}
