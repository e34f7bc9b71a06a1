// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// What the arena keeps, says and refuses: the interface that every other part is written against.
///
/// Amounts are in the token's smallest unit and fit 128 bits; shares are parts per million; times are
/// Unix seconds. The executable specification of who gets what is `kumiai.settlement.ledger`.
interface IArena {
    enum Status {
        None,
        Open, // funded and staked, nobody works yet
        Running, // rounds are settled
        Stopped, // by the guardians: no further round, the committee may still settle the end
        Closed, // settled to the end
        Cancelled, // before it began: everything goes back
        Expired // nobody settled the end: the locked pot is shared by what was certified
    }

    enum Role {
        None,
        Trainer,
        Validator
    }

    enum Action {
        Pause,
        Resume,
        Stop
    }

    /// What a task is created with, and keeps to its end.
    struct Terms {
        bytes32 document; // sha256 of the task document: Kumiai's task id
        address token; // ERC-20; 0: the chain's own coin
        address admission; // who signs the members in; 0: whoever stakes enough may take part
        uint40 endsAt; // after this and `grace`, anyone may expire a task that was not settled
        uint32 grace;
        uint32 activationDelay; // between a round's settlement and its claims
        uint32 coolDown; // between leaving (or the end) and the withdrawal of stake
        uint32 sigmaFreeze; // before `endsAt`: sigma cannot change any more
        uint24 sigmaMin; // ppm
        uint24 sigmaMax; // ppm
        uint24 slash; // ppm of own stake that an offence proven on chain costs
        uint24 delegationSlash; // ppm: how much of a node's slashed share its delegations lose too
        bool slashToTask; // slashed stake goes back to the task's escrow; else it is burnt
        uint8 guardiansRequired;
        uint128 trainerStakeMin;
        uint128 validatorStakeMin;
        address[] guardians; // ascending, at most 16
    }

    /// A task's money and state. Held for it: escrow + locked + unclaimed + burnt + stakes + delegations.
    struct Task {
        address owner;
        Status status;
        uint40 endedAt; // closed, cancelled, expired or stopped
        uint32 round; // the last one that was settled
        uint128 escrow; // funded and not spent
        uint128 locked; // trainers' pay withheld for the final ranking
        uint128 unclaimed; // certified and not yet claimed
        uint128 burnt; // slashed stake; nothing ever leaves it
        uint128 paid; // certified so far, claimed or not
        uint128 bonus; // of an expired task: the locked pot that claims share
        uint128 contributed; // by payers who have not been refunded
        uint40 pausedUntil;
        uint32 orders; // guardians' orders carried out: the next one's nonce
        bytes32 committee; // keccak256(abi.encodePacked(members)): 32 bytes an address, see Quorum
    }

    struct Member {
        uint128 stake;
        Role role;
        uint40 exitAt; // a member that left before the task began may withdraw from here on
        uint40 sigmaAt; // sigma was last changed
        uint24 sigma; // ppm of what delegation adds that the node keeps
        uint16 holds; // open disputes
    }

    /// EIP-712: Certificate(bytes32 task,uint32 round,uint32 attempt,bool isFinal,bytes32 body,
    /// bytes32 submissions,bytes32 payments,uint128 paid,uint128 locked,bytes32 slashes,
    /// bytes32 nextCommittee)
    struct Certificate {
        bytes32 task;
        uint32 round; // from 1, higher than the last one that was settled
        uint32 attempt;
        bool isFinal;
        bytes32 body; // sha256 of the certificate that the same committee signed off chain
        bytes32 submissions; // root over the traces that trainers submitted (IDisputes.Submission); 0: none
        bytes32 payments; // root over everybody's cumulative pay, see `claim`
        uint128 paid; // becomes claimable: out of the escrow, at the end out of the locked pot
        uint128 locked; // out of the escrow into the locked pot; at the end 0: its rest goes back
        bytes32 slashes; // keccak256(abi.encode(Slash[]))
        bytes32 nextCommittee; // who signs the next one; 0: the same
    }

    /// One leaf of a root, for `claimMany`.
    struct Claim {
        address account;
        uint128 cumulative;
        bytes32[] proof;
    }

    struct Slash {
        address member;
        uint128 amount;
        bytes32 evidence; // counts once against a member
    }

    /// A committee's word. `members` (ascending) must hash to the task's committee:
    /// keccak256(abi.encodePacked(members)), which is each address left-padded to 32 bytes, one after
    /// another, without a length. Bit i of `signers` stands for members[i]; `signatures` holds r and vs
    /// (EIP-2098, 64 bytes) of each signer, in that order, and nothing else.
    /// Required, of n members: (n + (n - 1) / 3) / 2 + 1 with floor divisions. A committee of one that
    /// sends the call itself needs no signature (the other two fields are not read): so a contract,
    /// which cannot sign, can be a committee; see BlsCommittee.
    struct Quorum {
        address[] members;
        uint256 signers;
        bytes signatures;
    }

    event TaskCreated(bytes32 indexed task, address indexed owner, bytes32 indexed document, Terms terms);
    event Funded(bytes32 indexed task, address indexed payer, uint128 amount);
    event Staked(bytes32 indexed task, address indexed member, Role role, uint128 amount);
    event Left(bytes32 indexed task, address indexed member, uint40 exitAt);
    event StakeWithdrawn(bytes32 indexed task, address indexed member, uint128 amount);
    event SigmaSet(bytes32 indexed task, address indexed node, uint24 sigma);
    event Delegated(bytes32 indexed task, address indexed delegator, address indexed node, uint128 amount);
    event Undelegated(bytes32 indexed task, address indexed delegator, address indexed node, uint128 amount);
    event Started(bytes32 indexed task, address[] committee);
    event RoundSettled(bytes32 indexed task, uint32 indexed round, bytes32 body, bytes32 submissions, bytes32 payments, uint128 paid, uint128 locked, uint40 activeAt);
    event FinalSettled(bytes32 indexed task, uint32 indexed round, bytes32 body, bytes32 submissions, bytes32 payments, uint128 paid, uint128 returned, uint40 activeAt);
    event CommitteeChanged(bytes32 indexed task, bytes32 committee);
    event Claimed(bytes32 indexed task, address indexed account, uint128 amount, uint128 cumulative);
    event Slashed(bytes32 indexed task, address indexed member, uint128 amount, uint128 delegated, bytes32 evidence);
    event Equivocated(bytes32 indexed task, address indexed validator, uint32 round, uint32 attempt);
    event Refunded(bytes32 indexed task, address indexed payer, uint128 amount);
    event Ended(bytes32 indexed task, Status status);
    event Ordered(bytes32 indexed task, Action indexed action, uint40 until, string reason, address[] signers);
    event RootsBlocked(bytes32 indexed task, uint32 fromRound);
    event RootsVoided(bytes32 indexed task, uint32 upTo);

    error WrongStatus(bytes32 task, Status status);
    error TaskExists(bytes32 task);
    error BadTerms(string field);
    error NotOwner(address owner);
    error AmountZero();
    error TokenAmountDiffers(uint256 expected, uint256 received);
    error ValueDiffers(uint256 expected, uint256 given);
    error OtherRole(Role role);
    error StakeTooSmall(uint256 stake, uint256 minimum);
    error WrongDocument(bytes32 expected);
    error NotAdmitted(address signer);
    error Expired(uint256 deadline);
    error NotMember(address who);
    error TooEarly(uint256 from);
    error StakeHeld(uint256 holds);
    error SigmaOutside(uint256 minimum, uint256 maximum);
    error SigmaFrozen(uint256 from);
    error NothingToWithdraw();
    error NothingToClaim();
    error BadCommittee();
    error NoQuorum(uint256 signatures, uint256 required);
    error BadSignature(address expected, address recovered);
    error RoundNotNext(uint32 last, uint32 given);
    error Overdrawn(uint256 available, uint256 asked);
    error SlashesDiffer();
    error TooManySlashes(uint256 count, uint256 maximum);
    error EvidenceUsed(address member, bytes32 evidence);
    error RootInactive(uint32 round, uint256 activeAt);
    error RootIsBlocked(uint32 round, uint32 from);
    error BadProof();
    error IsPaused(uint256 until);
    error BadOrder(uint256 nonce);
    error NoContradiction();
    error NotArbiter(address arbiter);

    // ---- tasks

    /// Create a task; its id is keccak256(abi.encode(msg.sender, terms.document)), so nobody can take it.
    function createTask(Terms calldata terms) external returns (bytes32 task);

    /// Put money into the task's escrow (ERC-20: after `approve`; own coin: msg.value = amount).
    function fund(bytes32 task, uint128 amount) external payable;

    /// The owner begins: nobody leaves any more. `committee`: staked validators, ascending.
    function start(bytes32 task, address[] calldata committee) external;

    /// The owner gives up before the start: budget, stakes and delegations go back.
    function cancel(bytes32 task) external;

    /// Anyone, after `endsAt + grace` (of a stopped task: `grace` after the stop). A task that was
    /// never started is cancelled by it, so that an absent owner keeps nobody's money.
    function expire(bytes32 task) external;

    /// A payer takes its part of what an ended task did not spend.
    function refund(bytes32 task) external returns (uint128 amount);

    // ---- members

    /// Take part, or add to one's stake. `document` shows that the sender knows what it agrees to.
    /// `admission`: the admission signer's EIP-712 Admission(bytes32 task,address member,uint8 role,
    /// uint40 deadline), 65 bytes, where the task has such a signer.
    function stake(bytes32 task, Role role, uint128 amount, bytes32 document, uint40 deadline, bytes calldata admission) external payable;

    /// The same for a member that signed EIP-712 Enrolment(bytes32 task,address member,uint8 role,
    /// uint128 amount,bytes32 document,uint40 deadline); the sender pays, the stake is the member's.
    function stakeFor(address member, bytes32 task, Role role, uint128 amount, bytes32 document, uint40 deadline, bytes calldata admission, bytes calldata enrolment) external payable;

    /// Leave before the start; the stake can be withdrawn after the cool-down.
    function unstake(bytes32 task) external;

    /// Pay `member` its stake: after the cool-down since it left, or since the end.
    function withdrawStake(bytes32 task, address member) external returns (uint128 amount);

    function setSigma(bytes32 task, uint24 sigma) external;

    function delegate(bytes32 task, address node, uint128 amount) external payable;

    /// Take back what was lent to `node`: after the end (with delegationSlash > 0: and its cool-down),
    /// or at once where the node left before the start.
    function undelegate(bytes32 task, address node) external returns (uint128 amount);

    // ---- settlement

    /// Settle a round, or with `isFinal` the task, by one quorum's signatures. Anyone may send it.
    /// A paused task settles nothing; a stopped one only its end.
    function settle(Certificate calldata certificate, Slash[] calldata slashes, Quorum calldata quorum) external;

    /// Burn stake beside a certificate, in batches: EIP-712 Verdict(bytes32 task,bytes32 slashes).
    function slash(bytes32 task, Slash[] calldata slashes, Quorum calldata quorum) external;

    /// Pay `account` what the root of `round` gives it beyond what it has claimed. Leaf:
    /// keccak256(bytes.concat(keccak256(abi.encode(task, account, cumulative)))); pairs are sorted.
    function claim(bytes32 task, uint32 round, address account, uint128 cumulative, bytes32[] calldata proof) external returns (uint128 amount);

    /// The same for many accounts under one root, whoever sends it: about half the gas each. An account
    /// with nothing to claim is passed over; one that cannot be paid makes the whole call revert.
    function claimMany(bytes32 task, uint32 round, Claim[] calldata claims) external;

    /// Two different certificates of one round and attempt, signed (65 bytes each) by one validator.
    function proveEquivocation(Certificate calldata first, bytes calldata firstSignature, Certificate calldata second, bytes calldata secondSignature) external;

    // ---- guardians

    /// EIP-712 Order(bytes32 task,uint8 action,uint40 until,uint32 nonce,uint40 deadline,string reason),
    /// signed by `guardiansRequired` of the guardians. `quorum.members` are all guardians; `until` is a
    /// pause's end, at most 30 days ahead, and else 0; `nonce` is the task's `orders`; `deadline` is at
    /// most 7 days ahead; `reason` has at most 280 bytes.
    function order(bytes32 task, Action action, uint40 until, uint40 deadline, string calldata reason, Quorum calldata quorum) external;

    // ---- the arbiter (the disputes contract)

    /// An open dispute about `round`: its root and later ones pay nobody, `member` cannot withdraw.
    function hold(bytes32 task, address member, uint32 round) external;

    /// The dispute is over. `disable`: no root settled so far pays any more, as roots are cumulative; the
    /// next certificate gives everybody's pay anew (of a task that has ended: one that only does that).
    function release(bytes32 task, address member, uint32 round, bool disable) external;

    /// Take `ppm` of the member's stake for `evidence`, by the arbiter's own authority. What a
    /// committee named as evidence is counted apart, so it cannot use the arbiter's up beforehand.
    function convict(bytes32 task, address member, uint24 ppm, bytes32 evidence) external;

    // ---- views

    function getTask(bytes32 task) external view returns (Task memory);
    function getTerms(bytes32 task) external view returns (Terms memory);
    function getMember(bytes32 task, address who) external view returns (Member memory);
    function getDelegation(bytes32 task, address node, address delegator) external view returns (uint128);
    function getDelegated(bytes32 task, address node) external view returns (uint128);
    function getContribution(bytes32 task, address payer) external view returns (uint128);
    function getClaimed(bytes32 task, address account) external view returns (uint128);
    function getRoot(bytes32 task, uint32 round) external view returns (bytes32 payments, uint40 activeAt, bool isDisabled);
    /// The certified root over the round's submissions; 0: nobody submitted a trace, or not settled.
    function getSubmissions(bytes32 task, uint32 round) external view returns (bytes32);
    function isEvidenceUsed(bytes32 task, address member, bytes32 evidence) external view returns (bool);
    function computeTaskId(address owner, bytes32 document) external view returns (bytes32);
    function computeDigest(Certificate calldata certificate) external view returns (bytes32);
    function arbiter() external view returns (address);
}
