// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IArena} from "../../src/IArena.sol";
import {ArenaState} from "../../src/arena/State.sol";
import {SymbolicArena} from "./SymbolicArena.sol";

/// The cheat codes that halmos knows and these checks use.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function prank(address sender) external;
    function warp(uint256 time) external;
    function deal(address account, uint256 balance) external;
    function assume(bool condition) external pure;
}

/// One task in any state. A `check_` function is proven by halmos for every value of its arguments.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bytes32 internal constant TASK = keccak256("task");
    bytes32 internal constant NO_SLASHES = keccak256(abi.encode(new IArena.Slash[](0)));
    address internal constant ALICE = address(0xA11CE);
    address internal constant NODE = address(0x40DE);
    address internal constant JUDGE = address(0xA4B1);
    uint128 internal constant COINS = 2 ** 120; // what the arena has; halmos bounds balances
    SymbolicArena internal arena;

    function setUp() public {
        vm.warp(1_800_000_000);
        arena = _deploy();
        vm.deal(address(arena), COINS);
    }

    function _deploy() internal virtual returns (SymbolicArena) {
        return new SymbolicArena(address(this), JUDGE);
    }

    function _blank(IArena.Status status) internal pure returns (ArenaState.State memory s) {
        s.status = status;
        s.owner = address(0xC057);
    }

    function _leaf(address account, uint128 cumulative) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(TASK, account, cumulative))));
    }

    /// Claim from a root that has one leaf; says whether it was paid.
    function _claim(uint32 round, uint128 cumulative) internal returns (bool paid) {
        try arena.claim(TASK, round, ALICE, cumulative, new bytes32[](0)) {
            paid = true;
        } catch {}
    }
}
