// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";
import {Lens} from "../src/Lens.sol";

contract LensTest is Fixture {
    function test_oneCallSaysWhatManyWouldSay() public {
        Lens lens = new Lens();
        _run(1000);
        _delegate(customer, trainer, 40);
        _pay(1, trainer, 60, 60, 0);
        vm.warp(block.timestamp + 1 hours);
        _claim(1, trainer, 60);
        bytes32[] memory tasks = new bytes32[](2);
        tasks[0] = task;
        IArena.Task[] memory found = lens.getTasks(arena, tasks);
        _true(keccak256(abi.encode(found[0])) == keccak256(abi.encode(arena.getTask(task))), "task");
        _true(found[1].status == IArena.Status.None, "no such task");
        address[] memory who = new address[](2);
        (who[0], who[1]) = (customer, trainer);
        Lens.Node[] memory nodes = lens.getNodes(arena, task, who);
        _equal(nodes[1].member.stake, 500, "stake");
        _equal(nodes[1].delegated, 40, "delegated");
        _true(nodes[0].member.role == IArena.Role.None, "no member");
        _equal(lens.getClaimed(arena, task, who)[1], 60, "claimed");
        _equal(lens.getContributions(arena, task, who)[0], 1000, "contribution");
        address[] memory where = new address[](2);
        (where[0], where[1]) = (trainer, trainer);
        _equal(lens.getDelegations(arena, task, where, who)[0], 40, "delegation");
        uint32[] memory rounds = new uint32[](2);
        (rounds[0], rounds[1]) = (1, 2);
        Lens.Root[] memory roots = lens.getRoots(arena, task, rounds);
        _true(roots[0].payments == _leaf(trainer, 60) && roots[1].activeAt == 0, "roots");
    }

    function test_theCreditIsMintedAndPermitted() public {
        uint256 key = 99;
        address owner = vm.addr(key);
        credit.mint(owner, 5);
        bytes32 kind = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
        );
        bytes32 content =
            keccak256(abi.encode(kind, owner, address(this), 5, 0, block.timestamp));
        bytes32 digest =
            keccak256(abi.encodePacked("\x19\x01", credit.DOMAIN_SEPARATOR(), content));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        credit.permit(owner, address(this), 5, block.timestamp, v, r, s);
        credit.transferFrom(owner, address(this), 5);
        _equal(credit.balanceOf(address(this)), 5, "moved");
    }
}
