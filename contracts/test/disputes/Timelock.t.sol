// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Disputes} from "../../src/Disputes.sol";
import {IArena} from "../../src/IArena.sol";
import {IDisputes} from "../../src/IDisputes.sol";
import {Timelock} from "../../src/Timelock.sol";
import {Checks} from "./Vm.sol";

/// Parameters change only after guardians' proposal has waited.
contract TimelockTest is Checks {
    uint256 internal constant DELAY = 2 days;
    address internal constant GUARDIAN = address(0x6A);
    address internal constant OTHER = address(0x6B);

    Timelock internal timelock;
    Disputes internal disputes;
    bytes internal call;

    function setUp() public {
        vm.warp(1_800_000_000);
        address[] memory guardians = new address[](2);
        (guardians[0], guardians[1]) = (GUARDIAN, OTHER);
        timelock = new Timelock(DELAY, guardians);
        disputes = new Disputes(IArena(address(1)), address(timelock));
        call = abi.encodeCall(IDisputes.setBondFloor, (address(0), 5));
    }

    function schedule(bytes memory data) internal returns (bytes32) {
        vm.prank(GUARDIAN);
        timelock.schedule(address(disputes), 0, data, 0, 0, DELAY);
        return timelock.hashOperation(address(disputes), 0, data, 0, 0);
    }

    function test_ParameterChangesOnlyAfterTheDelay() public {
        schedule(call);
        vm.warp(block.timestamp + DELAY - 1);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        timelock.execute(address(disputes), 0, call, 0, 0);
        vm.warp(block.timestamp + 1);
        vm.prank(address(0xABCD)); // anyone
        timelock.execute(address(disputes), 0, call, 0, 0);
    }

    function test_NobodyElseProposes() public {
        vm.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
        timelock.schedule(address(disputes), 0, call, 0, 0, DELAY);
        vm.prank(GUARDIAN);
        vm.expectPartialRevert(TimelockController.TimelockInsufficientDelay.selector);
        timelock.schedule(address(disputes), 0, call, 0, 0, DELAY - 1);
        vm.prank(GUARDIAN);
        vm.expectPartialRevert(Ownable.OwnableUnauthorizedAccount.selector);
        disputes.setBondFloor(address(0), 5); // a guardian itself owns nothing
    }

    function test_AnyGuardianCancels() public {
        bytes32 id = schedule(call);
        vm.prank(OTHER);
        timelock.cancel(id);
        vm.warp(block.timestamp + DELAY);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        timelock.execute(address(disputes), 0, call, 0, 0);
    }

    /// Neither deployer nor guardians administer it; the delay itself waits, too.
    function test_NoAdministrator() public {
        bytes32 admin = timelock.DEFAULT_ADMIN_ROLE();
        check(timelock.hasRole(admin, address(this)) ? 1 : 0, 0, "deployer");
        check(timelock.hasRole(admin, GUARDIAN) ? 1 : 0, 0, "guardian");
        vm.prank(GUARDIAN);
        vm.expectPartialRevert(TimelockController.TimelockUnauthorizedCaller.selector);
        timelock.updateDelay(0);
    }

    function test_OwnershipIsHandedOverInTwoSteps() public {
        bytes memory hand = abi.encodeCall(Ownable.transferOwnership, (OTHER));
        schedule(hand);
        vm.warp(block.timestamp + DELAY);
        timelock.execute(address(disputes), 0, hand, 0, 0);
        check(uint160(disputes.owner()), uint160(address(timelock)), "not yet");
        vm.prank(OTHER);
        disputes.acceptOwnership();
        check(uint160(disputes.owner()), uint160(OTHER), "accepted");
    }

    function test_RefusesBadTerms() public {
        address[] memory guardians = new address[](0);
        vm.expectRevert(abi.encodeWithSelector(Timelock.BadGuardians.selector, 0, 16));
        new Timelock(DELAY, guardians);
        guardians = new address[](1);
        guardians[0] = GUARDIAN;
        vm.expectRevert(abi.encodeWithSelector(Timelock.DelayTooShort.selector, 3599, 3600));
        new Timelock(3599, guardians);
    }
}
