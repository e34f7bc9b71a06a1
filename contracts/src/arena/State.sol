// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IArena} from "../IArena.sol";

/// What the arena remembers, and the two doors through which money comes and goes.
///
/// The parts (`Tasks`, `Members`, ...) inherit this contract and share its storage.
abstract contract ArenaState is IArena, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint256 internal constant PPM = 1_000_000;
    bytes32 private constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );
    bytes32 private constant DOMAIN_NAME = keccak256("Kumiai Arena");
    bytes32 private constant DOMAIN_VERSION = keccak256("1");
    uint256 internal constant COMMITTEE_SIZE_MAX = 128;

    /// A task's state, one comment a storage slot: what one call touches lies together.
    struct State {
        // read by every claim
        address token;
        uint40 pausedUntil;
        uint32 blockedFrom; // the lowest round under dispute; 0: none
        Status status;
        // written by every claim and every settlement
        uint128 unclaimed;
        uint128 paid;
        // written by every settlement
        uint128 escrow;
        uint128 locked;
        // written by few
        uint128 burnt;
        uint128 bonus;
        // written by every settlement
        uint128 contributed;
        uint32 round;
        uint32 orders;
        uint32 activationDelay;
        // read at the end
        address owner;
        uint40 endedAt;
        uint32 coolDown;
        uint8 validators; // enrolled and not left
        bytes32 committee;
    }

    /// What a node was lent. Shares are amounts until a slash makes each worth less.
    struct Pool {
        uint128 total;
        uint128 shares;
    }

    struct Hold {
        address member;
        uint32 round;
    }

    mapping(bytes32 task => State) internal _states;
    mapping(bytes32 task => Terms) internal _terms;
    mapping(bytes32 task => mapping(address who => Member)) internal _members;
    mapping(bytes32 task => mapping(address payer => uint128)) internal _contributions;
    mapping(bytes32 task => mapping(address node => Pool)) internal _pools;
    mapping(bytes32 task => mapping(address node => mapping(address delegator => uint128)))
        internal _shares;
    mapping(bytes32 task => mapping(uint32 round => bytes32 payments)) internal _roots;
    // what a disputed trace must be certified under; kept where somebody submitted one
    mapping(bytes32 task => mapping(uint32 round => bytes32)) internal _submissions;
    // six rounds a slot: 40 bits each for activeAt, and from bit 240 on a bit each for isDisabled
    mapping(bytes32 task => mapping(uint256 sixRounds => uint256)) internal _activity;
    mapping(bytes32 task => mapping(address account => uint128)) internal _claimed;
    mapping(bytes32 task => mapping(address member => mapping(bytes32 evidence => bool)))
        internal _evidence; // what the committee named
    mapping(bytes32 task => mapping(address member => mapping(bytes32 evidence => bool)))
        internal _proofs; // what was proven on chain: the committee cannot use it up beforehand
    mapping(bytes32 task => Hold[]) internal _holds;
    mapping(bytes32 enrolment => bool) internal _enrolments; // signed enrolments that were used

    address public immutable arbiter;

    constructor(address arbiter_) {
        arbiter = arbiter_;
    }

    /// EIP-712's digest of a struct, on this chain and for this contract alone. The separator is made
    /// anew each time (some 300 gas): a fork of the chain gets its own, and nothing is kept.
    function _hashTypedData(bytes32 structHash) internal view returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(DOMAIN_TYPEHASH, DOMAIN_NAME, DOMAIN_VERSION, block.chainid, address(this))
        );
        return MessageHashUtils.toTypedDataHash(separator, structHash);
    }

    /// Take exactly `amount` of the task's token or coin from the sender; call it last.
    function _pull(State storage s, uint128 amount) internal {
        address token = s.token;
        uint256 value = token == address(0) ? amount : 0;
        if (msg.value != value) revert ValueDiffers(value, msg.value);
        if (token == address(0)) return;
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) revert TokenAmountDiffers(amount, received);
    }

    /// Send `amount` to `account`; call it last. A receiver that refuses stops only its own payment.
    function _push(address token, address account, uint128 amount) internal {
        if (token == address(0)) Address.sendValue(payable(account), amount);
        else IERC20(token).safeTransfer(account, amount);
    }

    function _checkStatus(bytes32 task, Status status, Status expected) internal pure {
        if (status != expected) revert WrongStatus(task, status);
    }

    /// Open or Running: the time in which people join and lend.
    function _checkJoinable(bytes32 task, Status status) internal pure {
        if (status != Status.Open && status != Status.Running) revert WrongStatus(task, status);
    }

    /// Running or Stopped: the end is not settled yet.
    function _isUnsettled(Status status) internal pure returns (bool) {
        return status == Status.Running || status == Status.Stopped;
    }

    /// Closed, Cancelled or Expired.
    function _hasEnded(Status status) internal pure returns (bool) {
        return status >= Status.Closed;
    }

    function _getActivity(bytes32 task, uint256 round)
        internal
        view
        returns (uint256 activeAt, bool isDisabled)
    {
        uint256 word = _activity[task][round / 6];
        uint256 place = round % 6;
        activeAt = uint40(word >> (40 * place));
        isDisabled = (word >> (240 + place)) & 1 != 0;
    }

    function _checkNotPaused(State storage s) internal view {
        uint40 until = s.pausedUntil;
        if (block.timestamp < until) revert IsPaused(until);
    }

    function _end(bytes32 task, State storage s, Status status) internal {
        s.status = status;
        s.endedAt = uint40(block.timestamp);
        emit Ended(task, status);
    }
}
