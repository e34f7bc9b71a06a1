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

    /// A party's word about the first differing segment.
    struct Refinement {
        bytes32 digest; // of the segment's last state, as the party had claimed it
        bytes32 agreed; // of the segment's first state
        bytes32[] agreedPath; // from its leaf to `left`: as many siblings as `leftHeight`
        bytes32 root; // of the finer trace: one state an iteration
        bytes32[] firstPath; // of its first leaf, which must hold `agreed`
        bytes32[] lastPath; // of its last leaf, which must hold `digest`
    }

    /// What a dispute is about, and its rules: fixed when it is opened. Not kept: a dispute's id is
    /// keccak256(abi.encode(case)), and who moves shows the case again (it is in `Opened`).
    struct Case {
        bytes32 task;
        Submission submission;
        address accuser;
        bytes32 claimed; // the root of the accuser's trace
        address token;
        uint128 bond;
        uint24 slash; // ppm
        uint16 jurors; // the first so many of the task's list judge: those listed by then
        uint32 answerTime;
        uint32 juryTime;
        uint8 arity; // log2 of how many nodes an answer shows
        uint64 nonce;
    }

    struct Dispute {
        Level level;
        uint8 answered; // 1: the accused's side, 2: the accuser's
        uint8 height; // of the two nodes in their trees; 0: leaves
        uint8 rounds; // of the search so far
        uint8 arity;
        bool isFine; // the open level's trees hold one segment, with a leaf for every iteration
        uint8 outcome; // of a decided dispute, see `judge`
        uint8 leftHeight;
        uint24 position; // of the two nodes
        uint24 size; // leaves of the open level's trees
        uint40 deadline; // an answer at it is too late; of the jury: when it began, `juryTime` is added
        uint32 answerTime;
        uint16 segment; // the first differing one, once it is known
        uint16 every; // k, at most T
        uint32 iterations; // T
        bytes32[2] nodes; // the nodes that differ, the accused's first; at the end leaves' hashes
        bytes32 left; // the node left of them at `leftHeight`, in both trees: its last leaf is agreed
    }

    struct Parameters {
        uint24 bondShare; // ppm of the accused's stake (at least of the task's least stake)
        uint8 arity; // log2 of how many nodes an answer shows: 1 to 6
        uint32 answerTime; // for each move
        uint32 juryTime;
    }

    event Opened(bytes32 indexed dispute, bytes32 indexed task, address indexed accused, Case about);
    event Enrolled(bytes32 indexed task, address indexed validator, uint256 index);
    event Descended(bytes32 indexed dispute, uint8 indexed side, bytes32[] nodes);
    event Narrowed(bytes32 indexed dispute, Level level, uint8 height, uint24 position, uint40 deadline);
    event Refined(bytes32 indexed dispute, uint8 indexed side, bytes32 root, bytes32 digest, bytes32 agreed);
    event Asked(bytes32 indexed dispute, uint64 iteration, bool isStart, bytes32 accused, bytes32 accuser);
    event Decided(bytes32 indexed dispute, uint8 outcome, bytes32 digest);
    event BondBurnt(bytes32 indexed dispute, address indexed token, uint128 amount);
    event BondReturned(bytes32 indexed dispute, address indexed accuser, uint128 amount);
    event Withdrawn(address indexed token, address indexed account, uint256 amount);
    event ParametersSet(Parameters parameters);
    event BondFloorSet(address indexed token, uint128 amount);

    error WrongLevel(Level level);
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
    /// both the contract goes on at the first that differs; `next`, if not empty, is then already
    /// `side`'s (0: the accused's) answer there, so that each party sends one transaction a round.
    function descend(bytes32 dispute, bytes32[] calldata accused, bytes32[] calldata accuser, uint8 side, bytes32[] calldata next) external;

    /// Bind a party to a finer trace of the first differing segment. `signature`: the party's EIP-712
    /// Refinement(bytes32 dispute,bytes32 root), 64 or 65 bytes; empty where the party is the sender.
    function refine(Case calldata about, uint8 side, Refinement calldata refinement, bytes calldata signature) external;

    /// Anyone, after the deadline: who was silent has lost; if both were, or the jury, nothing is shown.
    function expire(Case calldata about) external;

    /// The jury's word, EIP-712 Verdict(bytes32 dispute,uint8 outcome,bytes32 digest): `digest` is what
    /// the state after the iteration in question has, 0 where no quorum can tell (machines of another
    /// class). Whose leaf holds another has lied, and `outcome` must say so: 0 nothing shown, 1 the
    /// accused, 2 the accuser, 3 both. Bit i of `signers` stands for the list's i-th; `signatures`: r
    /// and vs (EIP-2098) of each.
    function judge(Case calldata about, uint8 outcome, bytes32 digest, uint256 signers, bytes calldata signatures) external;

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
    function computeId(Case calldata about) external pure returns (bytes32);
    function computeSubmissionLeaf(Submission calldata submission) external pure returns (bytes memory);
}
