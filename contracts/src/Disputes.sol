// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IArena} from "./IArena.sol";
import {IDisputes} from "./IDisputes.sol";
import {Juries} from "./Juries.sol";
import {Search} from "./Search.sol";
import {TraceTrees} from "./TraceTrees.sol";

/// The arena's arbiter: two traces of one piece of work, searched for the iteration where they part.
///
/// Both parties go down their own tree: an answer shows the nodes below the one that differs, which
/// must hash to it, and the contract goes on at the first that differs. Nobody picks, and everything
/// to the left of it is equal, so at the end both agree on the state before the one they differ in.
/// That one iteration a jury computes. docs/adr/0038 argues the design.
contract Disputes is Juries, Ownable2Step, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using Search for Dispute;

    uint256 public constant OPEN_MAX = 16; // of a task
    uint256 internal constant PPM = 1_000_000;
    uint8 internal constant BOTH = 3;

    Parameters private _parameters;
    mapping(bytes32 dispute => Dispute) private _disputes;
    mapping(bytes32 task => uint256) private _open;
    mapping(address token => uint128) private _floors;
    mapping(address token => uint256) private _burnt;
    mapping(address token => mapping(address account => uint256)) private _credit;
    mapping(bytes32 task => mapping(bytes32 submission => bool)) private _convicted;
    uint256 private _opened;

    constructor(IArena arena_, address owner_) Juries(arena_) Ownable(owner_) {
        _setParameters(Parameters({bondShare: 100_000, arity: 4, answerTime: 1 hours, juryTime: 1 days}));
    }

    // ---- opening

    /// @inheritdoc IDisputes
    function open(
        bytes32 task,
        Submission calldata submission,
        Place calldata place,
        bytes32 claimed,
        address[] calldata committee
    ) external payable nonReentrant returns (bytes32 dispute) {
        IArena.Terms memory terms = arena.getTerms(task);
        bytes32 leaf = TraceTrees.hashLeaf(TraceTrees.encodeSubmission(submission));
        _checkAccusation(task, terms, submission, leaf, place, claimed);
        Parameters memory rules = _parameters;
        if (_open[task]++ >= OPEN_MAX) revert TooManyDisputes(OPEN_MAX);

        dispute = keccak256(abi.encode(task, leaf, msg.sender, ++_opened));
        Dispute storage d = _disputes[dispute];
        d.task = task;
        d.submission = leaf;
        (d.accused, d.round, d.accuser) = (submission.account, submission.round, msg.sender);
        (d.answerTime, d.juryTime, d.arity) = (rules.answerTime, rules.juryTime, rules.arity);
        (d.token, d.slash, d.jurors) = (terms.token, terms.slash, _summon(task, committee));
        (d.iterations, d.every) = Search.checkLength(submission);
        d.bond = _computeBond(task, submission.account, terms, rules.bondShare);
        d.roots = [submission.trace, claimed];
        d.search(Level.Segments, d.countSegments() + 1);

        emit Opened(dispute, task, submission.account, msg.sender, submission, claimed, d.bond);
        emit Narrowed(dispute, Level.Segments, d.height, 0, d.deadline);
        arena.hold(task, submission.account, submission.round);
        _receive(d.token, d.bond);
    }

    // ---- the search

    /// @inheritdoc IDisputes
    function descend(bytes32 dispute, bytes32[] calldata accused, bytes32[] calldata accuser) external {
        Dispute storage d = _disputes[dispute];
        if (d.level != Level.Segments && d.level != Level.Iterations) revert WrongLevel(d.level);
        uint8 given = (accused.length > 0 ? 1 : 0) | (accuser.length > 0 ? 2 : 0);
        uint8 answered = _answer(d, given);
        uint256 down = d.countDown();
        uint256 count = TraceTrees.countBelow(d.size, d.height, d.position, down);
        if (given & 1 != 0) d.checkNodes(0, accused, count, down);
        if (given & 2 != 0) d.checkNodes(1, accuser, count, down);
        emit Descended(dispute, accused, accuser);
        if (given != BOTH) {
            d.answered = answered;
            return;
        }
        // different nodes hash from different neighbours, so this ends before `count`
        uint256 first = 0;
        while (accused[first] == accuser[first]) ++first;
        d.nodes = [accused[first], accuser[first]];
        (d.height, d.position) = (d.height - uint8(down), uint32((uint256(d.position) << down) + first));
        (d.answered, d.rounds) = (0, d.rounds + 1);
        d.setDeadline(d.answerTime);
        if (d.height == 0) d.onFound();
        emit Narrowed(dispute, d.level, d.height, d.position, d.deadline);
    }

    /// @inheritdoc IDisputes
    function refine(
        bytes32 dispute,
        uint8 side,
        Submission calldata submission,
        Refinement calldata refinement,
        bytes calldata signature
    ) external {
        Dispute storage d = _disputes[dispute];
        if (d.level != Level.Refining) revert WrongLevel(d.level);
        _checkSubmission(d, submission);
        if (side > 1) revert NotParty(msg.sender);
        uint8 answered = _answer(d, uint8(1) << side);
        _checkSigner(side == 0 ? d.accused : d.accuser, dispute, refinement.root, signature);
        d.checkLeaf(side, submission, refinement.digest);
        if (d.agreed == 0) {
            d.checkAgreed(side, submission, refinement.agreed, refinement.agreedPath);
            d.agreed = refinement.agreed;
        }
        d.checkEnds(submission, refinement);
        d.roots[side] = refinement.root;
        emit Refined(dispute, side == 0 ? d.accused : d.accuser, refinement.root, refinement.digest, d.agreed);
        d.answered = answered;
        if (answered != BOTH) return;
        d.agreed = 0; // from here on: the last state before the two that differ
        d.isFine = true;
        d.search(Level.Iterations, d.countSegment() + 1);
        emit Narrowed(dispute, Level.Iterations, d.height, 0, d.deadline);
    }

    /// @inheritdoc IDisputes
    function show(
        bytes32 dispute,
        Submission calldata submission,
        bytes32 accused,
        bytes32 accuser,
        bytes32 agreed,
        bytes32[] calldata agreedPath
    ) external {
        Dispute storage d = _disputes[dispute];
        if (d.level != Level.Showing) revert WrongLevel(d.level);
        _checkSubmission(d, submission);
        uint8 answered = _answer(d, (accused != 0 ? 1 : 0) | (accuser != 0 ? 2 : 0));
        if (accused != 0) {
            d.checkLeaf(0, submission, accused);
            d.digests[0] = accused;
        }
        if (accuser != 0) {
            d.checkLeaf(1, submission, accuser);
            d.digests[1] = accuser;
        }
        if (d.position > 0 && d.agreed == 0) {
            d.checkAgreed(accused != 0 ? 0 : 1, submission, agreed, agreedPath);
            d.agreed = agreed;
        }
        emit Shown(dispute, accused, accuser);
        d.answered = answered;
        if (answered != BOTH) return;
        (d.level, d.answered) = (Level.Jury, 0);
        d.setDeadline(d.juryTime);
        emit Asked(dispute, d.findIteration(), d.agreed, d.digests[0], d.digests[1], d.deadline);
    }

    // ---- the end

    /// @inheritdoc IDisputes
    function expire(bytes32 dispute) external nonReentrant {
        Dispute storage d = _disputes[dispute];
        if (d.level == Level.None || d.level == Level.Decided) revert WrongLevel(d.level);
        if (block.timestamp < d.deadline) revert TooEarly(d.deadline);
        // both may have answered apart: the nodes are public, anyone sends them together
        if (d.answered == BOTH) revert NobodySilent();
        _decide(dispute, d, d.answered == 0 ? 0 : BOTH ^ d.answered, 0);
    }

    /// @inheritdoc IDisputes
    function judge(bytes32 dispute, uint8 outcome, bytes32 digest, uint256 signers, bytes calldata signatures)
        external
        nonReentrant
    {
        Dispute storage d = _disputes[dispute];
        if (d.level != Level.Jury) revert WrongLevel(d.level);
        if (block.timestamp >= d.deadline) revert TooLate(d.deadline);
        uint8 expected = 0;
        if (digest != 0) expected = (digest != d.digests[0] ? 1 : 0) | (digest != d.digests[1] ? 2 : 0);
        if (outcome != expected) revert BadVerdict(expected);
        _checkJury(d, computeDigest(dispute, outcome, digest), signers, signatures);
        _decide(dispute, d, outcome, digest);
    }

    /// @inheritdoc IDisputes
    function withdraw(address token, address account) external nonReentrant returns (uint256 amount) {
        amount = _credit[token][account];
        if (amount == 0) revert NothingToWithdraw();
        _credit[token][account] = 0;
        emit Withdrawn(token, account, amount);
        if (token == address(0)) Address.sendValue(payable(account), amount);
        else IERC20(token).safeTransfer(account, amount);
    }

    // ---- parameters: the timelock's

    /// @inheritdoc IDisputes
    function setParameters(Parameters calldata parameters) external onlyOwner {
        _setParameters(parameters);
    }

    /// @inheritdoc IDisputes
    function setBondFloor(address token, uint128 amount) external onlyOwner {
        _floors[token] = amount;
        emit BondFloorSet(token, amount);
    }

    // ---- views

    /// @inheritdoc IDisputes
    function getDispute(bytes32 dispute) external view returns (Dispute memory) {
        return _disputes[dispute];
    }

    /// @inheritdoc IDisputes
    function getParameters() external view returns (Parameters memory) {
        return _parameters;
    }

    /// @inheritdoc IDisputes
    function getCredit(address token, address account) external view returns (uint256) {
        return _credit[token][account];
    }

    /// @inheritdoc IDisputes
    function getBurnt(address token) external view returns (uint256) {
        return _burnt[token];
    }

    /// @inheritdoc IDisputes
    function getOpen(bytes32 task) external view returns (uint256) {
        return _open[task];
    }

    /// @inheritdoc IDisputes
    function computeBond(bytes32 task, address accused) external view returns (uint128) {
        return _computeBond(task, accused, arena.getTerms(task), _parameters.bondShare);
    }

    /// @inheritdoc IDisputes
    function computeSubmissionLeaf(Submission calldata submission) external pure returns (bytes memory) {
        return TraceTrees.encodeSubmission(submission);
    }

    // ---- checks

    function _checkAccusation(
        bytes32 task,
        IArena.Terms memory terms,
        Submission calldata submission,
        bytes32 leaf,
        Place calldata place,
        bytes32 claimed
    ) private view {
        if (terms.document != submission.document || terms.document == 0) {
            revert WrongTask(terms.document);
        }
        bytes32 root = arena.getSubmissions(task, submission.round);
        if (root == 0 || !TraceTrees.isIncluded(leaf, place.index, place.size, place.path, root)) {
            revert NotCertified();
        }
        // a root that is disabled already may hold another's lie, too
        (, uint40 activeAt,) = arena.getRoot(task, submission.round);
        if (block.timestamp >= activeAt) revert WindowClosed(activeAt);
        if (claimed == submission.trace) revert NothingDiffers();
        if (msg.sender == submission.account) revert NotParty(msg.sender);
    }

    function _checkSubmission(Dispute storage d, Submission calldata submission) private view {
        if (TraceTrees.hashLeaf(TraceTrees.encodeSubmission(submission)) != d.submission) revert WrongSubmission();
    }

    /// Who has answered with this; an answer counts once, and before the deadline. Nodes that both
    /// have shown may be sent again together: that is no answer but the way on.
    function _answer(Dispute storage d, uint8 given) private view returns (uint8) {
        if (given == 0) revert NothingGiven();
        if (d.answered == BOTH && given == BOTH) return BOTH;
        if (block.timestamp >= d.deadline) revert TooLate(d.deadline);
        if (given != BOTH && d.answered & given != 0) revert Duplicate();
        return d.answered | given;
    }

    function _checkSigner(address party, bytes32 dispute, bytes32 root, bytes calldata signature) private view {
        if (msg.sender == party) return;
        bytes32 digest = _hashTypedData(keccak256(abi.encode(REFINEMENT_TYPE, dispute, root)));
        if (!SignatureChecker.isValidSignatureNowCalldata(party, digest, signature)) revert NotParty(msg.sender);
    }

    // ---- money

    function _decide(bytes32 dispute, Dispute storage d, uint8 outcome, bytes32 digest) private {
        (d.level, d.outcome) = (Level.Decided, outcome);
        --_open[d.task];
        emit Decided(dispute, outcome, digest);
        if (outcome & 2 != 0) {
            _burnt[d.token] += d.bond;
            emit BondBurnt(dispute, d.token, d.bond);
        } else {
            _credit[d.token][d.accuser] += d.bond;
            emit BondReturned(dispute, d.accuser, d.bond);
        }
        bool isConvicted = outcome & 1 != 0;
        // one lie costs once, however many accused it of that
        if (isConvicted && !_convicted[d.task][d.submission]) {
            _convicted[d.task][d.submission] = true;
            arena.convict(d.task, d.accused, d.slash, dispute);
        }
        arena.release(d.task, d.accused, d.round, isConvicted);
    }

    function _receive(address token, uint128 amount) private {
        if (token == address(0)) {
            if (msg.value != amount) revert ValueDiffers(amount, msg.value);
            return;
        }
        if (msg.value != 0) revert ValueDiffers(0, msg.value);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) revert TokenAmountDiffers(amount, received);
    }

    function _setParameters(Parameters memory p) private {
        if (p.bondShare > PPM) revert BadParameters("bondShare");
        if (p.arity < 1 || p.arity > 6) revert BadParameters("arity");
        if (p.answerTime < 1 minutes || p.answerTime > 30 days) revert BadParameters("answerTime");
        if (p.juryTime < p.answerTime || p.juryTime > 60 days) revert BadParameters("juryTime");
        _parameters = p;
        emit ParametersSet(p);
    }

    function _computeBond(bytes32 task, address accused, IArena.Terms memory terms, uint24 share)
        private
        view
        returns (uint128)
    {
        uint256 stake = arena.getMember(task, accused).stake;
        if (stake < terms.trainerStakeMin) stake = terms.trainerStakeMin;
        uint256 bond = stake * share / PPM;
        uint256 floor = _floors[terms.token];
        return uint128(bond < floor ? floor : bond);
    }
}
