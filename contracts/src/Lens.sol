// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IArena} from "./IArena.sol";

/// Many of the arena's views in one call, in the order of the arguments. Keeps no state.
contract Lens {
    struct Root {
        bytes32 payments;
        uint40 activeAt; // 0: no such round was settled
        bool isDisabled;
    }

    /// What a node stands for: its membership and what others lent to it.
    struct Node {
        IArena.Member member;
        uint128 delegated;
    }

    function getTasks(IArena arena, bytes32[] calldata tasks)
        external
        view
        returns (IArena.Task[] memory found)
    {
        found = new IArena.Task[](tasks.length);
        for (uint256 i; i < tasks.length; ++i) {
            found[i] = arena.getTask(tasks[i]);
        }
    }

    function getNodes(IArena arena, bytes32 task, address[] calldata nodes)
        external
        view
        returns (Node[] memory found)
    {
        found = new Node[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            found[i] = Node(arena.getMember(task, nodes[i]), arena.getDelegated(task, nodes[i]));
        }
    }

    /// What each account has claimed so far.
    function getClaimed(IArena arena, bytes32 task, address[] calldata accounts)
        external
        view
        returns (uint128[] memory found)
    {
        found = new uint128[](accounts.length);
        for (uint256 i; i < accounts.length; ++i) {
            found[i] = arena.getClaimed(task, accounts[i]);
        }
    }

    /// What each delegator lent to the node at the same place.
    function getDelegations(
        IArena arena,
        bytes32 task,
        address[] calldata nodes,
        address[] calldata delegators
    ) external view returns (uint128[] memory found) {
        found = new uint128[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            found[i] = arena.getDelegation(task, nodes[i], delegators[i]);
        }
    }

    /// What each payer put in and has not been refunded.
    function getContributions(IArena arena, bytes32 task, address[] calldata payers)
        external
        view
        returns (uint128[] memory found)
    {
        found = new uint128[](payers.length);
        for (uint256 i; i < payers.length; ++i) {
            found[i] = arena.getContribution(task, payers[i]);
        }
    }

    function getRoots(IArena arena, bytes32 task, uint32[] calldata rounds)
        external
        view
        returns (Root[] memory found)
    {
        found = new Root[](rounds.length);
        for (uint256 i; i < rounds.length; ++i) {
            (found[i].payments, found[i].activeAt, found[i].isDisabled) =
                arena.getRoot(task, rounds[i]);
        }
    }
}
