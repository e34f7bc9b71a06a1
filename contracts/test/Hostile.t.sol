// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Fixture} from "./Fixture.sol";
import {Credit} from "../src/Credit.sol";
import {IArena} from "../src/IArena.sol";

/// A token that can misbehave in each of the ways that tokens do.
contract HostileToken {
    enum Mode {
        Good,
        Fee, // keeps a unit of every transfer
        False, // answers false and moves nothing
        Silent, // moves and answers nothing
        Blacklist, // refuses one receiver
        Reenter // calls the arena in the middle
    }

    mapping(address => uint256) public balanceOf;
    Mode public mode;
    address public refused;
    address public target;
    bytes public data;

    function mint(address account, uint256 amount) external {
        balanceOf[account] += amount;
    }

    function set(Mode mode_, address refused_) external {
        (mode, refused) = (mode_, refused_);
    }

    function setCall(address target_, bytes calldata data_) external {
        (mode, target, data) = (Mode.Reenter, target_, data_);
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (mode == Mode.False) return false;
        require(mode != Mode.Blacklist || to != refused, "refused");
        if (mode == Mode.Reenter) {
            (bool done, bytes memory answer) = target.call(data);
            if (!done) {
                assembly ("memory-safe") {
                    revert(add(answer, 32), mload(answer))
                }
            }
        }
        balanceOf[from] -= amount;
        balanceOf[to] += mode == Mode.Fee ? amount - 1 : amount;
        if (mode == Mode.Silent) {
            assembly ("memory-safe") {
                return(0, 0)
            }
        }
        return true;
    }
}

/// A member whose account is a contract: refuses coin, or calls back when it gets some.
contract Receiver {
    address public target;
    bytes public data;
    bool public isRefusing;

    function set(address target_, bytes calldata data_, bool isRefusing_) external {
        (target, data, isRefusing) = (target_, data_, isRefusing_);
    }

    receive() external payable {
        require(!isRefusing, "no");
        if (target == address(0)) return;
        (bool done, bytes memory answer) = target.call(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}

contract HostileTest is Fixture {
    HostileToken private token;
    Receiver private receiver;
    address private constant LENDER = address(0x1E4D);

    function setUp() public override {
        super.setUp();
        token = new HostileToken();
        receiver = new Receiver();
        credit = Credit(address(token)); // the terms name it
        IArena.Terms memory t = _terms();
        t.document = "hostile";
        task = _create(t);
    }

    function test_aTokenThatTakesAFeeIsRefused() public {
        token.mint(customer, 100);
        token.set(HostileToken.Mode.Fee, address(0));
        bytes memory differs = abi.encodeWithSelector(IArena.TokenAmountDiffers.selector, 10, 9);
        vm.prank(customer);
        vm.expectRevert(differs);
        arena.fund(task, 10);
        vm.prank(customer);
        vm.expectRevert(differs);
        arena.stake(task, IArena.Role.Trainer, 10, "hostile", 0, "");
        _equal(arena.getTask(task).escrow, 0, "nothing is booked");
    }

    function test_aTokenThatAnswersFalseMovesNothing() public {
        token.mint(customer, 100);
        token.set(HostileToken.Mode.False, address(0));
        vm.prank(customer);
        vm.expectRevert(
            abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token))
        );
        arena.fund(task, 10);
    }

    function test_aTokenThatAnswersNothingWorks() public {
        token.set(HostileToken.Mode.Silent, address(0));
        _runHostile();
        _claim(1, trainer, 10);
        _equal(token.balanceOf(trainer), 10, "paid");
    }

    function test_aRefusedReceiverStopsOnlyItsOwnPayment() public {
        _runHostile();
        bytes32[] memory leaves = new bytes32[](2);
        (leaves[0], leaves[1]) = (_leaf(trainer, 20), _leaf(LENDER, 5));
        (bytes32 root, bytes32[] memory proof) = _prove(leaves, 0);
        (, bytes32[] memory other) = _prove(leaves, 1);
        _settle(_certificate(2, 15, 0, root));
        vm.warp(block.timestamp + 1 hours);
        token.set(HostileToken.Mode.Blacklist, trainer);
        vm.expectRevert();
        arena.claim(task, 2, trainer, 20, proof);
        arena.claim(task, 2, LENDER, 5, other);
        token.set(HostileToken.Mode.Good, address(0));
        arena.claim(task, 2, trainer, 20, proof);
    }

    /// In the middle of a payment no other call of the arena goes through.
    function test_nothingIsReentered() public {
        _runHostile();
        bytes[6] memory calls = [
            abi.encodeCall(arena.claim, (task, 1, trainer, 10, new bytes32[](0))),
            abi.encodeCall(arena.fund, (task, 1)),
            abi.encodeCall(arena.refund, (task)),
            abi.encodeCall(arena.withdrawStake, (task, trainer)),
            abi.encodeCall(arena.undelegate, (task, trainer)),
            abi.encodeCall(arena.expire, (task))
        ];
        for (uint256 i; i < calls.length; ++i) {
            token.setCall(address(arena), calls[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            _claim(1, trainer, 10);
        }
        token.set(HostileToken.Mode.Good, address(0));
        _equal(_claim(1, trainer, 10), 10, "once");
    }

    function test_theChainsOwnCoin() public {
        _native();
        vm.deal(customer, 100);
        vm.prank(customer);
        vm.expectRevert(abi.encodeWithSelector(IArena.ValueDiffers.selector, 10, 9));
        arena.fund{value: 9}(task, 10);
        vm.prank(customer);
        arena.fund{value: 100}(task, 100);
        _runNative();
        _claim(1, address(receiver), 10);
        _equal(address(receiver).balance, 10, "paid in coin");
        _settleEnd(2, 0, 0);
        vm.warp(block.timestamp + 2 days);
        vm.prank(customer);
        arena.refund(task);
        arena.withdrawStake(task, address(receiver));
        for (uint256 i; i < 4; ++i) {
            arena.withdrawStake(task, committee[i]);
        }
        _equal(customer.balance, 90, "refund");
        _equal(address(receiver).balance, 30, "stake");
        _equal(address(arena).balance, 0, "nothing left");
    }

    function test_aTokenTaskTakesNoCoin() public {
        vm.deal(customer, 1);
        vm.prank(customer);
        vm.expectRevert(abi.encodeWithSelector(IArena.ValueDiffers.selector, 0, 1));
        arena.fund{value: 1}(task, 1);
    }

    function test_nobodySendsTheArenaCoinByMistake() public {
        vm.deal(address(this), 1);
        (bool done,) = address(arena).call{value: 1}("");
        _true(!done, "refused");
    }

    function test_aReceiverThatRefusesOrReentersGetsNothingTwice() public {
        _native();
        vm.deal(customer, 100);
        vm.prank(customer);
        arena.fund{value: 100}(task, 100);
        _runNative();
        receiver.set(address(0), "", true);
        vm.expectRevert();
        _claim(1, address(receiver), 10);
        receiver.set(
            address(arena),
            abi.encodeCall(arena.claim, (task, 1, address(receiver), 10, new bytes32[](0))),
            false
        );
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        _claim(1, address(receiver), 10);
        receiver.set(address(0), "", false);
        _equal(_claim(1, address(receiver), 10), 10, "once");
    }

    // ----

    function _runHostile() private {
        token.mint(customer, 1000);
        vm.prank(customer);
        arena.fund(task, 1000);
        for (uint256 i; i < 4; ++i) {
            token.mint(committee[i], 100);
            vm.prank(committee[i]);
            arena.stake(task, IArena.Role.Validator, 100, "hostile", 0, "");
        }
        vm.prank(customer);
        arena.start(task, committee);
        _pay(1, trainer, 10, 10, 0);
        vm.warp(block.timestamp + 1 hours);
    }

    function _native() private {
        IArena.Terms memory t = _terms();
        t.document = "native";
        t.token = address(0);
        task = _create(t);
    }

    function _runNative() private {
        for (uint256 i; i < 4; ++i) {
            vm.deal(committee[i], 100);
            vm.prank(committee[i]);
            arena.stake{value: 100}(task, IArena.Role.Validator, 100, "native", 0, "");
        }
        vm.deal(address(receiver), 20);
        vm.prank(address(receiver));
        arena.stake{value: 20}(task, IArena.Role.Trainer, 20, "native", 0, "");
        vm.prank(customer);
        arena.start(task, committee);
        _pay(1, address(receiver), 10, 10, 0);
        vm.warp(block.timestamp + 1 hours);
    }
}
