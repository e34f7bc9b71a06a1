// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ArenaState} from "./State.sol";

/// Backing a node with money: what was lent, as shares of the node's pool.
///
/// A slash lowers the pool's total and leaves the shares: every delegator loses the same fraction
/// without a loop (EigenLayer's scaling, one factor a pool). Without a slash a share is one unit,
/// so amounts are exact. Rounding favours the pool, and its last delegator takes the exact rest.
abstract contract Delegations is ArenaState {
    function delegate(bytes32 task, address node, uint128 amount) external payable nonReentrant {
        State storage s = _states[task];
        _checkJoinable(task, s.status);
        if (amount == 0) revert AmountZero();
        Member storage m = _members[task][node];
        if (m.role == Role.None || m.exitAt != 0) revert NotMember(node);
        Pool storage pool = _pools[task][node];
        uint128 shares = _computeShares(pool, amount);
        pool.total += amount;
        pool.shares += shares;
        _shares[task][node][msg.sender] += shares;
        emit Delegated(task, msg.sender, node, amount);
        _pull(s, amount);
    }

    function undelegate(bytes32 task, address node)
        external
        nonReentrant
        returns (uint128 amount)
    {
        State storage s = _states[task];
        _checkFree(task, s, _members[task][node]);
        Pool storage pool = _pools[task][node];
        uint128 shares = _shares[task][node][msg.sender];
        amount = _computeAmount(pool, shares);
        if (amount == 0) revert NothingToWithdraw();
        _shares[task][node][msg.sender] = 0;
        pool.total -= amount;
        pool.shares -= shares;
        emit Undelegated(task, msg.sender, node, amount);
        _push(s.token, msg.sender, amount);
    }

    /// Take the delegations' part of a slash of `amount` out of `staked`; returns what was taken.
    function _slashPool(bytes32 task, address node, uint128 amount, uint128 staked)
        internal
        returns (uint128 lost)
    {
        uint256 ppm = _terms[task].delegationSlash;
        if (ppm == 0 || amount == 0) return 0;
        Pool storage pool = _pools[task][node];
        uint128 total = pool.total;
        if (total == 0) return 0;
        // amount <= staked and ppm <= PPM: never more than the total
        lost = uint128(Math.mulDiv(total, amount * ppm, staked * PPM));
        pool.total = total - lost;
    }

    function _computeAmount(Pool storage pool, uint128 shares) internal view returns (uint128) {
        if (shares == 0) return 0;
        return uint128(Math.mulDiv(shares, pool.total, pool.shares));
    }

    function _computeShares(Pool storage pool, uint128 amount) private view returns (uint128) {
        if (pool.shares == 0) return amount;
        // a pool that lost everything has no price: who joins would pay for the others' loss
        if (pool.total == 0) revert StakeTooSmall(0, 1);
        return SafeCast.toUint128(Math.mulDiv(amount, pool.shares, pool.total));
    }

    /// Revert unless what backs `m` may leave: the task ended, or the node left before its start.
    function _checkFree(bytes32 task, State storage s, Member storage m) private view {
        if (m.exitAt != 0) return;
        Status status = s.status;
        if (!_hasEnded(status)) {
            // a node that left and withdrew its stake is no member any more
            if (m.role == Role.None && status != Status.None) return;
            revert WrongStatus(task, status);
        }
        if (status == Status.Cancelled || _terms[task].delegationSlash == 0) return;
        if (m.holds != 0) revert StakeHeld(m.holds);
        uint256 from = uint256(s.endedAt) + s.coolDown;
        if (block.timestamp < from) revert TooEarly(from);
    }
}
