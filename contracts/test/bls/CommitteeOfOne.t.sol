// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "../Fixture.sol";
import {IArena} from "../../src/IArena.sol";

/// A committee of one member, which certifies by calling.
contract CommitteeOfOneTest is Fixture {
    address[] private one;
    uint256[] private itsKey;

    function setUp() public override {
        super.setUp();
        _run(1000);
        one.push(committee[2]);
        itsKey.push(keys[2]);
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        c.nextCommittee = keccak256(abi.encodePacked(one));
        _settle(c);
    }

    function test_settlesByCalling() public {
        IArena.Certificate memory c = _certificate(2, 5, 0, 0);
        vm.prank(one[0]);
        _send(c, one, 0, "");
        _equal(arena.getTask(task).paid, 6, "paid");
    }

    function test_slashesByCalling() public {
        IArena.Slash[] memory slashes = _slashes(trainer, 7, "e");
        vm.prank(one[0]);
        arena.slash(task, slashes, IArena.Quorum(one, 0, ""));
        _equal(arena.getTask(task).burnt, 7, "burnt");
    }

    function test_nobodyElseSettlesInItsName() public {
        IArena.Certificate memory c = _certificate(2, 5, 0, 0);
        address[3] memory others = [committee[0], customer, address(arena)];
        for (uint256 i; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 0, 1));
            vm.prank(others[i]);
            _send(c, one, 0, "");
            address[] memory self = new address[](1); // a committee of its own making
            self[0] = others[i];
            vm.expectRevert(IArena.BadCommittee.selector);
            vm.prank(others[i]);
            _send(c, self, 0, "");
            vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 0, 1));
            vm.prank(others[i]);
            arena.slash(task, _slashes(trainer, 7, "e"), IArena.Quorum(one, 0, ""));
        }
    }

    function test_anybodyBringsItsSignature() public {
        IArena.Certificate memory c = _certificate(2, 5, 0, 0);
        arena.settle(c, new IArena.Slash[](0), _sign(arena.computeDigest(c), one, itsKey, 1));
        _equal(arena.getTask(task).paid, 6, "paid");
    }

    function test_oneOfManyDoesNotSettleByCalling() public {
        _runByAll(_terms());
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        address[] memory all = committee;
        vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 0, 3));
        vm.prank(all[0]);
        _send(c, all, 0, "");
    }

    function test_aLoneGuardianMustSign() public {
        IArena.Terms memory t = _terms();
        t.guardians = new address[](1);
        t.guardians[0] = guardians[0];
        t.guardiansRequired = 1;
        _runByAll(t);
        uint40 until = uint40(block.timestamp + 1 hours);
        vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 0, 1));
        vm.prank(guardians[0]);
        arena.order(
            task, IArena.Action.Pause, until, until, "why", IArena.Quorum(t.guardians, 0, "")
        );
    }

    /// A second task, run by the whole committee.
    function _runByAll(IArena.Terms memory t) private {
        t.document = "by all";
        task = _create(t);
        for (uint256 i; i < committee.length; ++i) {
            _give(committee[i], 1000);
            vm.prank(committee[i]);
            arena.stake(task, IArena.Role.Validator, 1000, "by all", 0, "");
        }
        vm.prank(customer);
        arena.start(task, committee);
    }

    function _send(
        IArena.Certificate memory c,
        address[] memory members,
        uint256 signers,
        bytes memory signatures
    ) private {
        arena.settle(c, new IArena.Slash[](0), IArena.Quorum(members, signers, signatures));
    }
}
