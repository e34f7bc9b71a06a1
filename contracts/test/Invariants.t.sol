// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {World} from "./World.sol";
import {Arena} from "../src/Arena.sol";

/// Random histories of one task, checked after every call. With KUMIAI_SEEDED=true the arena has a
/// planted fault, and this suite must fail:
///
///     KUMIAI_SEEDED=true forge test --match-contract InvariantsTest
contract InvariantsTest is Fixture {
    World private world;

    function setUp() public override {
        world = new World(vm.envOr("KUMIAI_SEEDED", false));
    }

    /// forge calls only the world's actions.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(world);
    }

    /// What the arena has is what its books say that it holds.
    function invariant_moneyIsConserved() external view {
        world.checkBooks();
    }

    /// Nobody was paid more than the roots that were certified give it (and the bonus of an expired
    /// task), however often it claimed.
    function invariant_claimsArePaidOnce() external view {
        world.checkClaims();
    }

    /// Stakes and delegations changed only by their owners, or by what was signed or proven.
    function invariant_nobodysStakeMovesByItself() external view {
        world.checkStakes();
    }

    /// While a task was paused no money left it and nothing was settled.
    function invariant_aPauseHolds() external view {
        _true(!world.isPauseBroken(), "pause");
    }
}

/// The planted fault in one history: what the suites must find.
contract SeededTest is Fixture {
    function _deploy() internal override returns (Arena) {
        return _deploySeeded();
    }

    function test_theSeededArenaPaysOneLeafTwice() public {
        _run(100);
        _pay(1, trainer, 10, 10, 0);
        _pay(2, trainer, 20, 10, 0);
        vm.warp(block.timestamp + 1 hours);
        _claim(1, trainer, 10);
        _claim(1, trainer, 10);
        _equal(credit.balanceOf(trainer), 20, "paid twice");
    }
}
