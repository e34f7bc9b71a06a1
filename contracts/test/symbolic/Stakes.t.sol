// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IArena} from "../../src/IArena.sol";
import {ArenaState} from "../../src/arena/State.sol";
import {Base} from "./Base.sol";

/// Stake leaves its owner by its owner, by the task's end, or by a proof; and never more than is there.
contract StakesCheck is Base {
    function _open(IArena.Status status, uint128 stake) private {
        arena.putState(TASK, _blank(status));
        arena.putMember(TASK, NODE, IArena.Role.Trainer, stake);
    }

    /// While a task runs or is stopped, nobody can withdraw a member's stake, not even the member.
    function check_noWithdrawalBeforeTheEnd(address sender, uint128 stake, bool isStopped)
        external
    {
        _open(isStopped ? IArena.Status.Stopped : IArena.Status.Running, stake);
        vm.prank(sender);
        try arena.withdrawStake(TASK, NODE) {
            assert(false);
        } catch {}
        assert(arena.getMember(TASK, NODE).stake == stake);
    }

    /// Whoever sends the withdrawal: the member gets all of it, once.
    function check_aWithdrawalPaysTheMember(address sender, uint128 stake) external {
        vm.assume(stake != 0);
        _open(IArena.Status.Closed, stake);
        vm.prank(sender);
        arena.withdrawStake(TASK, NODE);
        assert(NODE.balance == stake && arena.getMember(TASK, NODE).stake == 0);
        try arena.withdrawStake(TASK, NODE) {
            assert(false);
        } catch {}
    }

    /// Nobody but the arbiter convicts.
    function check_onlyTheArbiterConvicts(address sender, uint128 stake, uint24 ppm) external {
        vm.assume(sender != JUDGE);
        _open(IArena.Status.Running, stake);
        vm.prank(sender);
        try arena.convict(TASK, NODE, ppm, keccak256("e")) {
            assert(false);
        } catch {}
        assert(arena.getMember(TASK, NODE).stake == stake);
    }

    /// A conviction takes at most the stake, and burns what it takes; a second one is refused.
    function check_aConvictionConservesMoney(uint128 stake, uint24 ppm, bool toTask) external {
        _open(IArena.Status.Running, stake);
        arena.putTerms(TASK, 0, 0, toTask);
        vm.prank(JUDGE);
        arena.convict(TASK, NODE, ppm, keccak256("e"));
        uint128 left = arena.getMember(TASK, NODE).stake;
        assert(left <= stake);
        assert(uint256(left) + arena.sumPots(TASK) == stake);
        vm.prank(JUDGE);
        try arena.convict(TASK, NODE, ppm, keccak256("e")) {
            assert(false); // one proof counts once
        } catch {}
    }
}
