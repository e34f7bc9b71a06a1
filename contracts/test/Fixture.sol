// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Arena} from "../src/Arena.sol";
import {Credit} from "../src/Credit.sol";
import {IArena} from "../src/IArena.sol";

/// The few of forge's cheat codes that these tests use.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function prank(address sender) external;
    function warp(uint256 time) external;
    function deal(address account, uint256 balance) external;
    function chainId(uint256 id) external;
    function assume(bool condition) external pure;
    function expectRevert(bytes calldata data) external;
    function expectRevert(bytes4 selector) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectRevert() external;
    function expectEmit(address emitter) external;
    function deployCode(string calldata what, bytes calldata args) external returns (address);
    function envOr(string calldata name, bool value) external view returns (bool);
}

/// A world with one task: who is who, what they sign, and trees of payments.
abstract contract Fixture {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bytes32 internal constant DOCUMENT = keccak256("document");
    bytes32 internal constant NO_SLASHES = keccak256(abi.encode(new IArena.Slash[](0)));
    uint256 internal constant HALF_ORDER =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    address internal customer = address(0xC057);
    address internal judge = address(0xA4B1);
    address internal timelock = address(0x71E1);
    address internal trainer = address(0x7A11);
    Arena internal arena;
    Credit internal credit;
    bytes32 internal task;
    uint256[] internal keys; // of the validators, in the order of `committee`
    address[] internal committee;
    uint256[] internal guardianKeys;
    address[] internal guardians;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        arena = _deploy();
        credit = Credit(vm.deployCode("Credit.sol:Credit", ""));
        (keys, committee) = _people(4, 1000);
        (guardianKeys, guardians) = _people(3, 5000);
        task = _create(_terms());
    }

    /// By its name, not by `new`: else the compiler optimises the arena again for every test file.
    function _deploy() internal virtual returns (Arena) {
        return Arena(vm.deployCode("Arena.sol:Arena", abi.encode(timelock, judge)));
    }

    function _deploySeeded() internal returns (Arena) {
        return Arena(vm.deployCode("SeededArena.sol:SeededArena", abi.encode(timelock, judge)));
    }

    function _terms() internal view virtual returns (IArena.Terms memory t) {
        t.document = DOCUMENT;
        t.token = address(credit);
        t.endsAt = uint40(block.timestamp + 30 days);
        t.grace = 3 days;
        t.activationDelay = 1 hours;
        t.coolDown = 2 days;
        t.sigmaFreeze = 1 days;
        t.sigmaMin = 100_000;
        t.sigmaMax = 400_000;
        t.slash = 500_000;
        t.delegationSlash = 500_000;
        t.guardiansRequired = 2;
        t.trainerStakeMin = 10;
        t.validatorStakeMin = 100;
        t.guardians = guardians;
    }

    // ---- people

    function _people(uint256 count, uint256 firstKey)
        internal
        pure
        returns (uint256[] memory sortedKeys, address[] memory who)
    {
        sortedKeys = new uint256[](count);
        who = new address[](count);
        for (uint256 i; i < count; ++i) {
            address account = vm.addr(firstKey + i);
            uint256 place = i;
            for (; place > 0 && who[place - 1] > account; --place) {
                (who[place], sortedKeys[place]) = (who[place - 1], sortedKeys[place - 1]);
            }
            (who[place], sortedKeys[place]) = (account, firstKey + i);
        }
    }

    function _give(address account, uint256 amount) internal {
        credit.mint(account, amount);
        vm.prank(account);
        credit.approve(address(arena), type(uint256).max);
    }

    // ---- steps of a task's life

    function _create(IArena.Terms memory t) internal returns (bytes32) {
        vm.prank(customer);
        return arena.createTask(t);
    }

    function _fund(address payer, uint128 amount) internal {
        _give(payer, amount);
        vm.prank(payer);
        arena.fund(task, amount);
    }

    function _stake(address member, IArena.Role role, uint128 amount) internal {
        _give(member, amount);
        vm.prank(member);
        arena.stake(task, role, amount, DOCUMENT, 0, "");
    }

    function _delegate(address delegator, address node, uint128 amount) internal {
        _give(delegator, amount);
        vm.prank(delegator);
        arena.delegate(task, node, amount);
    }

    /// Fund with `budget`, enrol the committee (1000 each) and a trainer (500), start.
    function _run(uint128 budget) internal {
        if (budget != 0) _fund(customer, budget);
        for (uint256 i; i < committee.length; ++i) {
            _stake(committee[i], IArena.Role.Validator, 1000);
        }
        _stake(trainer, IArena.Role.Trainer, 500);
        vm.prank(customer);
        arena.start(task, committee);
    }

    function _certificate(uint32 round, uint128 paid, uint128 locked, bytes32 payments)
        internal
        view
        returns (IArena.Certificate memory c)
    {
        c.task = task;
        c.round = round;
        c.paid = paid;
        c.locked = locked;
        c.payments = payments;
        c.slashes = NO_SLASHES;
    }

    function _settle(IArena.Certificate memory c) internal {
        _settle(c, new IArena.Slash[](0));
    }

    function _settle(IArena.Certificate memory c, IArena.Slash[] memory slashes) internal {
        c.slashes = keccak256(abi.encode(slashes));
        arena.settle(c, slashes, _quorum(arena.computeDigest(c)));
    }

    /// Settle a round that pays everything to one account.
    function _pay(uint32 round, address account, uint128 cumulative, uint128 paid, uint128 locked)
        internal
    {
        _settle(_certificate(round, paid, locked, _leaf(account, cumulative)));
    }

    function _settleEnd(uint32 round, uint128 paid, bytes32 payments) internal {
        IArena.Certificate memory c = _certificate(round, paid, 0, payments);
        c.isFinal = true;
        _settle(c);
    }

    function _claim(uint32 round, address account, uint128 cumulative) internal returns (uint128) {
        return arena.claim(task, round, account, cumulative, new bytes32[](0));
    }

    function _slashes(address member, uint128 amount, bytes32 evidence)
        internal
        pure
        returns (IArena.Slash[] memory slashes)
    {
        slashes = new IArena.Slash[](1);
        slashes[0] = IArena.Slash(member, amount, evidence);
    }

    /// The committee's verdict beside a certificate.
    function _verdict(IArena.Slash[] memory slashes) internal {
        arena.slash(task, slashes, _quorum(_verdictDigest(slashes)));
    }

    function _order(IArena.Action action, uint40 until) internal {
        uint40 deadline = uint40(block.timestamp + 1 hours);
        bytes32 digest = _orderDigest(action, until, arena.getTask(task).orders, deadline, "why");
        arena.order(task, action, until, deadline, "why", _guardianQuorum(digest, 3));
    }

    // ---- signatures

    /// The smallest quorum that counts: the first q of the committee.
    function _quorum(bytes32 digest) internal view returns (IArena.Quorum memory) {
        uint256 n = committee.length;
        return _sign(digest, committee, keys, (1 << ((n + (n - 1) / 3) / 2 + 1)) - 1);
    }

    function _guardianQuorum(bytes32 digest, uint256 signers)
        internal
        view
        returns (IArena.Quorum memory)
    {
        return _sign(digest, guardians, guardianKeys, signers);
    }

    function _sign(
        bytes32 digest,
        address[] memory members,
        uint256[] memory memberKeys,
        uint256 signers
    ) internal pure returns (IArena.Quorum memory quorum) {
        bytes memory signatures;
        for (uint256 i; i < members.length; ++i) {
            if ((signers >> i) & 1 == 0) continue;
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(memberKeys[i], digest);
            signatures = abi.encodePacked(signatures, r, bytes32((uint256(v) - 27) << 255 | uint256(s)));
        }
        return IArena.Quorum(members, signers, signatures);
    }

    function _signLong(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// EIP-712, written a second time from the standard and from IArena's comments.
    function _typed(bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Kumiai Arena"),
                keccak256("1"),
                block.chainid,
                address(arena)
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function _verdictDigest(IArena.Slash[] memory slashes) internal view returns (bytes32) {
        bytes32 kind = keccak256("Verdict(bytes32 task,bytes32 slashes)");
        return _typed(keccak256(abi.encode(kind, task, keccak256(abi.encode(slashes)))));
    }

    function _orderDigest(
        IArena.Action action,
        uint40 until,
        uint32 nonce,
        uint40 deadline,
        string memory reason
    ) internal view returns (bytes32) {
        bytes32 kind = keccak256(
            "Order(bytes32 task,uint8 action,uint40 until,uint32 nonce,uint40 deadline,string reason)"
        );
        return _typed(
            keccak256(
                abi.encode(kind, task, action, until, nonce, deadline, keccak256(bytes(reason)))
            )
        );
    }

    // ---- trees of payments

    function _leaf(address account, uint128 cumulative) internal view returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(task, account, cumulative))));
    }

    /// A root and the proof of `index`, layer by layer; an odd last node goes up as it is.
    function _prove(bytes32[] memory layer, uint256 index)
        internal
        pure
        returns (bytes32 root, bytes32[] memory proof)
    {
        bytes32[64] memory path;
        uint256 depth;
        while (layer.length > 1) {
            if (index ^ 1 < layer.length) path[depth++] = layer[index ^ 1];
            bytes32[] memory above = new bytes32[]((layer.length + 1) / 2);
            for (uint256 i; i < above.length; ++i) {
                bytes32 left = layer[2 * i];
                if (2 * i + 1 == layer.length) above[i] = left;
                else above[i] = _pair(left, layer[2 * i + 1]);
            }
            layer = above;
            index /= 2;
        }
        root = layer[0];
        proof = new bytes32[](depth);
        for (uint256 i; i < depth; ++i) {
            proof[i] = path[i];
        }
    }

    function _pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encodePacked(a, b)) : keccak256(abi.encodePacked(b, a));
    }

    // ---- what must hold

    /// The token's balance is what the task's books say it holds, for the accounts that are named.
    function _checkBooks(address[] memory members, address[] memory nodes) internal view {
        IArena.Task memory t = arena.getTask(task);
        uint256 total = uint256(t.escrow) + t.locked + t.unclaimed + t.burnt;
        for (uint256 i; i < members.length; ++i) {
            total += arena.getMember(task, members[i]).stake;
        }
        for (uint256 i; i < nodes.length; ++i) {
            total += arena.getDelegated(task, nodes[i]);
        }
        _equal(credit.balanceOf(address(arena)), total, "books");
    }

    function _equal(uint256 got, uint256 expected, string memory what) internal pure {
        if (got != expected) revert Differs(what, got, expected);
    }

    function _true(bool condition, string memory what) internal pure {
        if (!condition) revert Differs(what, 0, 1);
    }

    error Differs(string what, uint256 got, uint256 expected);
}
