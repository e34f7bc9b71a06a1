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
    mapping(bytes32 lie => bool) private _convicted;
    uint64 private _opened;

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

        Case memory about = Case({
            task: task,
            submission: submission,
            accuser: msg.sender,
            claimed: claimed,
            token: terms.token,
            bond: _computeBond(task, submission.account, terms, rules.bondShare),
            slash: terms.slash,
            jurors: _summon(task, committee),
            answerTime: rules.answerTime,
            juryTime: rules.juryTime,
            arity: rules.arity,
            nonce: ++_opened
        });
        dispute = keccak256(abi.encode(about));
        Dispute storage d = _disputes[dispute];
        (d.answerTime, d.arity) = (rules.answerTime, rules.arity);
        (d.iterations, d.every) = Search.checkLength(submission);
        d.nodes = [submission.trace, claimed];
        d.search(Level.Segments, d.countSegments() + 1);

        emit Opened(dispute, task, submission.account, about);
        arena.hold(task, submission.account, submission.round);
        _receive(about.token, about.bond);
    }

    // ---- the search

    /// @inheritdoc IDisputes
    function descend(
        bytes32 dispute,
        bytes32[] calldata accused,
        bytes32[] calldata accuser,
        uint8 side,
        bytes32[] calldata next
    ) external {
        Dispute storage d = _disputes[dispute];
        _checkSearching(d);
        uint8 given = (accused.length > 0 ? 1 : 0) | (accuser.length > 0 ? 2 : 0);
        uint8 before = d.answered;
        uint8 answered = _answer(d, given);
        if (given & 1 != 0) d.checkNodes(0, accused);
        if (given & 2 != 0) d.checkNodes(1, accuser);
        // what is shown for the first time can be read by everybody, whoever called
        if (given & ~before & 1 != 0) emit Descended(dispute, 0, accused);
        if (given & ~before & 2 != 0) emit Descended(dispute, 1, accuser);
        if (given == BOTH) {
            d.narrow(accused, accuser);
            _goOn(dispute, d);
        } else {
            d.answered = answered;
        }
        if (next.length > 0) _answerNext(dispute, d, side, next);
    }

    /// @inheritdoc IDisputes
    function refine(Case calldata about, uint8 side, Refinement calldata refinement, bytes calldata signature)
        external
    {
        (bytes32 dispute, Dispute storage d) = _find(about);
        if (d.level != Level.Refining) revert WrongLevel(d.level);
        if (side > 1) revert NotParty(msg.sender);
        uint8 answered = _answer(d, uint8(1) << side);
        address party = side == 0 ? about.submission.account : about.accuser;
        _checkSigner(party, dispute, refinement.root, signature);
        d.checkRefinement(side, about.submission, refinement);
        d.nodes[side] = refinement.root;
        d.answered = answered;
        emit Refined(dispute, side, refinement.root, refinement.digest, refinement.agreed);
        if (answered != BOTH) return;
        d.isFine = true;
        d.search(Level.Iterations, d.countSegment() + 1);
        emit Narrowed(dispute, Level.Iterations, d.height, 0, d.deadline);
    }

    // ---- the end

    /// @inheritdoc IDisputes
    function expire(Case calldata about) external nonReentrant {
        (bytes32 dispute, Dispute storage d) = _find(about);
        if (d.level == Level.None || d.level == Level.Decided) revert WrongLevel(d.level);
        uint256 deadline = d.level == Level.Jury ? uint256(d.deadline) + about.juryTime : d.deadline;
        if (block.timestamp < deadline) revert TooEarly(deadline);
        // both may have answered apart: the nodes are public, anyone sends them together
        if (d.answered == BOTH) revert NobodySilent();
        _decide(about, dispute, d, d.answered == 0 ? 0 : BOTH ^ d.answered, 0);
    }

    /// @inheritdoc IDisputes
    function judge(Case calldata about, uint8 outcome, bytes32 digest, uint256 signers, bytes calldata signatures)
        external
        nonReentrant
    {
        (bytes32 dispute, Dispute storage d) = _find(about);
        if (d.level != Level.Jury) revert WrongLevel(d.level);
        uint256 deadline = uint256(d.deadline) + about.juryTime;
        if (block.timestamp >= deadline) revert TooLate(deadline);
        uint8 expected = d.findLiars(about.submission, digest);
        if (outcome != expected) revert BadVerdict(expected);
        _checkJury(about, computeDigest(dispute, outcome, digest), signers, signatures);
        _decide(about, dispute, d, outcome, digest);
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

    /// @inheritdoc IDisputes
    function computeId(Case calldata about) public pure returns (bytes32) {
        return keccak256(abi.encode(about));
    }

    // ---- checks

    function _find(Case calldata about) private view returns (bytes32 dispute, Dispute storage d) {
        dispute = computeId(about);
        d = _disputes[dispute];
    }

    function _checkSearching(Dispute storage d) private view {
        if (d.level != Level.Segments && d.level != Level.Iterations) revert WrongLevel(d.level);
    }

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

    /// Who has answered with this; an answer counts once, and before the deadline. Nodes that both
    /// have shown may be sent again together: that is no answer but the way on.
    function _answer(Dispute storage d, uint8 given) private view returns (uint8) {
        if (given == 0) revert NothingGiven();
        if (d.answered == BOTH && given == BOTH) return BOTH;
        if (block.timestamp >= d.deadline) revert TooLate(d.deadline);
        if (given != BOTH && d.answered & given != 0) revert Duplicate();
        return d.answered | given;
    }

    /// The first nodes of the next round, by whom the last round was ended.
    function _answerNext(bytes32 dispute, Dispute storage d, uint8 side, bytes32[] calldata nodes) private {
        _checkSearching(d);
        if (side > 1) revert NotParty(msg.sender);
        d.answered = _answer(d, uint8(1) << side);
        d.checkNodes(side, nodes);
        emit Descended(dispute, side, nodes);
    }

    /// The search narrowed: it goes on below, or at leaves with what comes next.
    function _goOn(bytes32 dispute, Dispute storage d) private {
        if (d.height == 0) d.level = d.findNext();
        d.setDeadline(d.level == Level.Jury ? 0 : d.answerTime);
        emit Narrowed(dispute, d.level, d.height, d.position, d.deadline);
        if (d.level == Level.Jury) emit Asked(dispute, d.findIteration(), d.position == 0, d.nodes[0], d.nodes[1]);
    }

    function _checkSigner(address party, bytes32 dispute, bytes32 root, bytes calldata signature) private view {
        if (msg.sender == party) return;
        bytes32 digest = _hashTypedData(keccak256(abi.encode(REFINEMENT_TYPE, dispute, root)));
        if (!SignatureChecker.isValidSignatureNowCalldata(party, digest, signature)) revert NotParty(msg.sender);
    }

    // ---- money

    function _decide(Case calldata about, bytes32 dispute, Dispute storage d, uint8 outcome, bytes32 digest) private {
        (d.level, d.outcome) = (Level.Decided, outcome);
        (bytes32 task, address accused) = (about.task, about.submission.account);
        --_open[task];
        emit Decided(dispute, outcome, digest);
        if (outcome & 2 != 0) {
            _burnt[about.token] += about.bond;
            emit BondBurnt(dispute, about.token, about.bond);
        } else {
            _credit[about.token][about.accuser] += about.bond;
            emit BondReturned(dispute, about.accuser, about.bond);
        }
        // one lie costs once, however many accused it of that
        bytes32 lie = keccak256(abi.encode(task, about.submission));
        if (outcome & 1 != 0 && !_convicted[lie]) {
            _convicted[lie] = true;
            arena.convict(task, accused, about.slash, dispute);
        }
        arena.release(task, accused, about.submission.round, outcome & 1 != 0);
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
