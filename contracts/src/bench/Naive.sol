// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// What the arena is measured against, and nothing else: never deployed for use, never shipped.
///
/// The design that first comes to mind: each member sends its own transactions, everything is
/// kept in storage, and the contract computes the round. A trainer commits to its model and reveals
/// it; a validator commits to its scores and posts them; `settle` loops over all and divides the
/// budget by the stake-weighted mean score; pay is pulled by each member, or pushed in the loop.
contract Naive {
    struct Round {
        bool isSettled;
        mapping(address trainer => bytes32) commitments;
        mapping(address trainer => bytes32) models;
        mapping(address validator => bytes32) scoreCommitments;
        mapping(address validator => mapping(address trainer => uint256)) scores;
        mapping(address validator => bool) hasScored;
    }

    uint256 private constant VALIDATORS_PART = 4; // a quarter of the budget is the validators'

    uint256 public immutable budget; // of a round, wei
    bool public immutable isPushing;
    address[] public trainers;
    address[] public validators;
    mapping(address member => uint256) public stakes;
    mapping(address member => uint256) public owed;
    mapping(uint256 round => Round) private _rounds;

    event Committed(uint256 indexed round, address indexed member, bytes32 commitment);
    event Revealed(uint256 indexed round, address indexed trainer, bytes32 model);
    event Scored(uint256 indexed round, address indexed validator);
    event Paid(uint256 indexed round, address indexed member, uint256 amount);

    error Refused();

    constructor(uint256 budget_, bool isPushing_) payable {
        budget = budget_;
        isPushing = isPushing_;
    }

    function join(bool asTrainer) external payable {
        if (msg.value == 0 || stakes[msg.sender] != 0) revert Refused();
        stakes[msg.sender] = msg.value;
        (asTrainer ? trainers : validators).push(msg.sender);
    }

    function commit(uint256 round, bytes32 commitment) external {
        if (stakes[msg.sender] == 0) revert Refused();
        _rounds[round].commitments[msg.sender] = commitment;
        emit Committed(round, msg.sender, commitment);
    }

    function reveal(uint256 round, bytes32 model, bytes32 salt) external {
        Round storage r = _rounds[round];
        if (r.commitments[msg.sender] != keccak256(abi.encode(model, salt))) revert Refused();
        r.models[msg.sender] = model;
        emit Revealed(round, msg.sender, model);
    }

    function commitScores(uint256 round, bytes32 commitment) external {
        if (stakes[msg.sender] == 0) revert Refused();
        _rounds[round].scoreCommitments[msg.sender] = commitment;
        emit Committed(round, msg.sender, commitment);
    }

    function postScores(uint256 round, uint256[] calldata scores, bytes32 salt) external {
        Round storage r = _rounds[round];
        bytes32 commitment = keccak256(abi.encode(scores, salt));
        if (r.scoreCommitments[msg.sender] != commitment || scores.length != trainers.length) {
            revert Refused();
        }
        for (uint256 i; i < scores.length; ++i) {
            r.scores[msg.sender][trainers[i]] = scores[i];
        }
        r.hasScored[msg.sender] = true;
        emit Scored(round, msg.sender);
    }

    function settle(uint256 round) external {
        Round storage r = _rounds[round];
        if (r.isSettled) revert Refused();
        r.isSettled = true;
        uint256 n = trainers.length;
        uint256[] memory weights = new uint256[](n);
        uint256 total;
        for (uint256 i; i < n; ++i) {
            address trainer = trainers[i];
            if (r.models[trainer] == 0) continue;
            weights[i] = _computeScore(r, trainer) * stakes[trainer];
            total += weights[i];
        }
        uint256 part = budget / VALIDATORS_PART;
        for (uint256 i; i < n; ++i) {
            if (weights[i] != 0) _pay(round, trainers[i], (budget - part) * weights[i] / total);
        }
        _payValidators(round, r, part);
    }

    function claim() external {
        uint256 amount = owed[msg.sender];
        if (amount == 0) revert Refused();
        owed[msg.sender] = 0;
        _send(msg.sender, amount);
    }

    /// The mean of a trainer's scores, each weighted by its validator's stake.
    function _computeScore(Round storage r, address trainer) private view returns (uint256) {
        uint256 sum;
        uint256 weight;
        for (uint256 j; j < validators.length; ++j) {
            address validator = validators[j];
            if (!r.hasScored[validator]) continue;
            uint256 staked = stakes[validator];
            sum += r.scores[validator][trainer] * staked;
            weight += staked;
        }
        return weight == 0 ? 0 : sum / weight;
    }

    function _payValidators(uint256 round, Round storage r, uint256 part) private {
        uint256 total;
        for (uint256 j; j < validators.length; ++j) {
            if (r.hasScored[validators[j]]) total += stakes[validators[j]];
        }
        for (uint256 j; j < validators.length; ++j) {
            address validator = validators[j];
            if (r.hasScored[validator]) _pay(round, validator, part * stakes[validator] / total);
        }
    }

    function _pay(uint256 round, address member, uint256 amount) private {
        emit Paid(round, member, amount);
        if (isPushing) _send(member, amount);
        else owed[member] += amount;
    }

    function _send(address member, uint256 amount) private {
        (bool isSent,) = member.call{value: amount}("");
        if (!isSent) revert Refused();
    }
}
