// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// Disputes about training traces: what is kept, said and refused.
///
/// The executable specification is `kumiai.proofs.dispute`; docs/adr/0038 says where this differs.
/// Amounts are in the token's smallest unit, shares are parts per million, times are Unix seconds.
interface IDisputes {
    enum Level {
        None,
        Segments, // the search goes down the trees over the checkpoints
        Refining, // both bind themselves to a finer trace of the first differing segment
        Iterations, // the search goes down the trees over that segment's iterations
        Showing, // both show the state's digest behind the first differing leaf
        Jury, // the jury computes one iteration
        Decided
    }

    /// What a trainer bound itself to in a round: a leaf under the certificate's `submissions`.
    /// Its bytes are the canonical JSON ["kumiai/submission/1",document,round,attempt,member,
    /// account,trace,iterations,every], hashes and the account as lower-case hexadecimal, without 0x.
    struct Submission {
        bytes32 document; // the task document's sha256: Kumiai's task id
        uint32 round;
        uint32 attempt;
        bytes32 member; // public key of the member's events
        address account; // the member on the arena
        bytes32 trace; // root of its trace (RFC 6962, sha256)
        uint64 iterations; // T
        uint64 every; // k: a state every k iterations
    }

    /// Where a leaf is: RFC 6962 inclusion proof, from the leaf's sibling upwards.
    struct Place {
        uint32 index;
        uint32 size;
        bytes32[] path;
    }

    /// A party's word about the first differing segment. `agreed` and `agreedPath` (under the party's
    /// trace) count for the first of the two; the second need not repeat them.
    struct Refinement {
        bytes32 digest; // of the segment's last state, as the party had claimed it
        bytes32 agreed; // of the segment's first state
        bytes32[] agreedPath;
        bytes32 root; // of the finer trace: one state an iteration
        bytes32[] firstPath; // of its first leaf, which must hold `agreed`
        bytes32[] lastPath; // of its last leaf, which must hold `digest`
    }

    struct Dispute {
        bytes32 task;
        bytes32 submission; // the leaf's hash
        address accused;
        uint32 round;
        uint40 deadline; // of the open level; an answer at it is too late
        Level level;
        uint8 answered; // 1: the accused's side, 2: the accuser's
        uint8 height; // of the two nodes in their trees; 0: leaves
        address accuser;
        uint32 answerTime;
        uint32 juryTime;
        uint8 arity; // log2 of how many nodes an answer shows
        uint8 rounds; // of the search so far
        uint8 outcome; // of a decided dispute, see `judge`
        bool isFine; // the open level's trees hold one segment, with a leaf for every iteration
        uint128 bond;
        uint32 size; // leaves of the open level's trees
        uint32 position; // of the two nodes
        uint32 segment; // the first differing one, once it is known
        uint32 every; // at most `iterations`
        address token;
        uint24 slash; // ppm
        uint40 iterations;
        uint16 jurors; // how many of the task's list judge: those listed when it was opened
        bytes32[2] nodes; // the nodes that differ, the accused's first
        bytes32[2] roots; // of the open level's trees
        bytes32 agreed; // digest of the last state that both agree on; 0: they differ in the first
        bytes32[2] digests; // of the first state that they differ in
    }

    struct Parameters {
        uint24 bondShare; // ppm of the accused's stake (at least of the task's least stake)
        uint8 arity; // log2 of how many nodes an answer shows: 1 to 6
        uint32 answerTime; // for each move
        uint32 juryTime;
    }

    event Opened(bytes32 indexed dispute, bytes32 indexed task, address indexed accused, address accuser, Submission submission, bytes32 claimed, uint128 bond);
    event Enrolled(bytes32 indexed task, address indexed validator, uint256 index);
    event Descended(bytes32 indexed dispute, bytes32[] accused, bytes32[] accuser);
    event Narrowed(bytes32 indexed dispute, Level level, uint8 height, uint32 position, uint40 deadline);
    event Refined(bytes32 indexed dispute, address indexed party, bytes32 root, bytes32 digest, bytes32 agreed);
    event Shown(bytes32 indexed dispute, bytes32 accused, bytes32 accuser);
    event Asked(bytes32 indexed dispute, uint64 iteration, bytes32 agreed, bytes32 accused, bytes32 accuser, uint40 deadline);
    event Decided(bytes32 indexed dispute, uint8 outcome, bytes32 digest);
    event BondBurnt(bytes32 indexed dispute, address indexed token, uint128 amount);
    event BondReturned(bytes32 indexed dispute, address indexed accuser, uint128 amount);
    event Withdrawn(address indexed token, address indexed account, uint256 amount);
    event ParametersSet(Parameters parameters);
    event BondFloorSet(address indexed token, uint128 amount);

    error WrongLevel(Level level);
    error WrongSubmission();
    error WrongTask(bytes32 document);
    error NotCertified();
    error WindowClosed(uint256 activeAt);
    error NothingDiffers();
    error BadLength(uint256 iterations, uint256 every);
    error TooManyDisputes(uint256 maximum);
    error ValueDiffers(uint256 expected, uint256 given);
    error TokenAmountDiffers(uint256 expected, uint256 received);
    error TooLate(uint256 deadline);
    error TooEarly(uint256 from);
    error Duplicate();
    error NothingGiven();
    error BadNodes(uint256 side);
    error BadLeaf(uint256 side);
    error BadAgreed();
    error BadEnds();
    error NotParty(address signer);
    error NobodySilent();
    error ListFull(uint256 maximum);
    error NotValidator(address who);
    error BadCommittee();
    error BadVerdict(uint8 expected);
    error NoQuorum(uint256 signatures, uint256 required);
    error BadSignature(address expected, address recovered);
    error NothingToWithdraw();
    error BadParameters(string field);

    /// Accuse the trainer of `submission`, claiming that its trace has the root `claimed`. Until the
    /// round's root is active. The bond, `computeBond` in the task's token, is the sender's. `place`:
    /// of the leaf under the round's certified submissions; `committee`: the task's present one.
    function open(bytes32 task, Submission calldata submission, Place calldata place, bytes32 claimed, address[] calldata committee) external payable returns (bytes32 dispute);

    /// List staked validators as jurors of a task that has begun. Anyone, for anyone; those listed
    /// already are passed over. A dispute is judged by those who were listed when it was opened.
    function enrol(bytes32 task, address[] calldata validators) external;

    /// Show what lies below the two nodes that differ: min(arity, height) levels down, left to right.
    /// Either side's nodes, or both's: whoever sends them, they must hash to that side's node. With
    /// both the contract goes on at the first that differs.
    function descend(bytes32 dispute, bytes32[] calldata accused, bytes32[] calldata accuser) external;

    /// Bind a party to a finer trace of the first differing segment. `signature`: the party's EIP-712
    /// Refinement(bytes32 dispute,bytes32 root), 64 or 65 bytes; empty where the party is the sender.
    function refine(bytes32 dispute, uint8 side, Submission calldata submission, Refinement calldata refinement, bytes calldata signature) external;

    /// Show the digests behind the two leaves that differ; 0: not this side's. `agreed` and its path,
    /// under either side's root, with the first of the two; where the very first leaves differ: 0.
    function show(bytes32 dispute, Submission calldata submission, bytes32 accused, bytes32 accuser, bytes32 agreed, bytes32[] calldata agreedPath) external;

    /// Anyone, after the deadline: who was silent has lost; if both were, or the jury, nothing is shown.
    function expire(bytes32 dispute) external;

    /// The jury's word, EIP-712 Verdict(bytes32 dispute,uint8 outcome,bytes32 digest): `digest` is what
    /// the state after the iteration in question has, 0 where no quorum can tell (machines of another
    /// class). `outcome` says what follows: 0 nothing shown, 1 the accused lied, 2 the accuser, 3 both.
    /// Bit i of `signers` stands for the list's i-th; `signatures`: r and vs (EIP-2098) of each.
    function judge(bytes32 dispute, uint8 outcome, bytes32 digest, uint256 signers, bytes calldata signatures) external;

    /// Pay `account` the bonds that went back to it.
    function withdraw(address token, address account) external returns (uint256 amount);

    function setParameters(Parameters calldata parameters) external;
    function setBondFloor(address token, uint128 amount) external;

    function getDispute(bytes32 dispute) external view returns (Dispute memory);
    function getParameters() external view returns (Parameters memory);
    function getJurors(bytes32 task) external view returns (address[] memory);
    function getCredit(address token, address account) external view returns (uint256);
    function getBurnt(address token) external view returns (uint256);
    function getOpen(bytes32 task) external view returns (uint256);
    function computeBond(bytes32 task, address accused) external view returns (uint128);
    function computeDigest(bytes32 dispute, uint8 outcome, bytes32 digest) external view returns (bytes32);
    function computeSubmissionLeaf(Submission calldata submission) external pure returns (bytes memory);
}
