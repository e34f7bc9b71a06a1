// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "./IDisputes.sol";
import {TraceTrees} from "./TraceTrees.sol";

/// Where a dispute's search stands: what an answer must hold, and where it goes on.
library Search {
    /// Begin at the roots, in `nodes`, of two trees with `size` leaves.
    function search(IDisputes.Dispute storage d, IDisputes.Level level, uint256 size) internal {
        (d.level, d.answered, d.position) = (level, 0, 0);
        (d.size, d.height) = (uint24(size), TraceTrees.computeHeight(size));
        setDeadline(d, d.answerTime);
    }

    /// One side's nodes below the one that differs: as many as there are, hashing to it.
    function checkNodes(IDisputes.Dispute storage d, uint256 side, bytes32[] calldata nodes) internal view {
        uint256 down = countDown(d);
        uint256 count = TraceTrees.countBelow(d.size, d.height, d.position, down);
        bool isBelow = nodes.length == count && TraceTrees.computeNode(nodes, down) == d.nodes[side];
        if (!isBelow) revert IDisputes.BadNodes(side);
    }

    /// Go on at the first of these that differs; what is left of it is equal in both trees.
    function narrow(IDisputes.Dispute storage d, bytes32[] calldata accused, bytes32[] calldata accuser) internal {
        uint256 down = countDown(d);
        // different nodes hash from different neighbours, so this ends within them
        uint256 first = 0;
        while (accused[first] == accuser[first]) ++first;
        uint8 height = d.height - uint8(down);
        if (first > 0) (d.left, d.leftHeight) = (accused[first - 1], height);
        d.nodes = [accused[first], accuser[first]];
        (d.height, d.position) = (height, uint24((uint256(d.position) << down) + first));
        (d.answered, d.rounds) = (0, d.rounds + 1);
    }

    /// What comes after two leaves that differ, all before them being equal.
    function findNext(IDisputes.Dispute storage d) internal returns (IDisputes.Level) {
        if (d.isFine || d.position == 0) return IDisputes.Level.Jury;
        d.segment = uint16(d.position - 1);
        return countSegment(d) > 1 ? IDisputes.Level.Refining : IDisputes.Level.Jury;
    }

    /// What is asked for now may come for `time` seconds.
    function setDeadline(IDisputes.Dispute storage d, uint32 time) internal {
        d.deadline = uint40(block.timestamp) + time;
    }

    /// A finer trace begins where both agree and ends in what its party had claimed.
    function checkRefinement(
        IDisputes.Dispute storage d,
        uint256 side,
        IDisputes.Submission calldata submission,
        IDisputes.Refinement calldata r
    ) internal view {
        uint256 position = d.position;
        if (hashLeafAt(d, submission, position, r.digest) != d.nodes[side]) revert IDisputes.BadLeaf(side);
        bytes32 agreed = hashLeafAt(d, submission, position - 1, r.agreed);
        bool isAgreed =
            r.agreedPath.length == d.leftHeight && TraceTrees.computeLastRoot(agreed, r.agreedPath) == d.left;
        if (!isAgreed) revert IDisputes.BadAgreed();
        uint256 length = countSegment(d);
        bytes32 first = TraceTrees.hashTraceLeaf(submission, 0, 0, r.agreed);
        bytes32 last = TraceTrees.hashTraceLeaf(submission, length, length, r.digest);
        bool isBound = TraceTrees.isIncluded(first, 0, length + 1, r.firstPath, r.root)
            && TraceTrees.isIncluded(last, length, length + 1, r.lastPath, r.root);
        if (!isBound) revert IDisputes.BadEnds();
    }

    /// Who has another leaf than this state's: 1 the accused, 2 the accuser, 3 both. Digest 0: nobody.
    function findLiars(IDisputes.Dispute storage d, IDisputes.Submission calldata submission, bytes32 digest)
        internal
        view
        returns (uint8)
    {
        if (digest == 0) return 0;
        bytes32 leaf = hashLeafAt(d, submission, d.position, digest);
        return (leaf != d.nodes[0] ? 1 : 0) | (leaf != d.nodes[1] ? 2 : 0);
    }

    /// T, and k as far as T goes; refused where a tree would have more leaves than a trace may.
    function checkLength(IDisputes.Submission calldata submission) internal pure returns (uint32, uint16) {
        (uint256 iterations, uint256 every) = (submission.iterations, submission.every);
        if (every > iterations) every = iterations;
        // a segment's finer trace has a leaf more than it has iterations, too
        uint256 most = TraceTrees.LEAVES_MAX - 1;
        if (every == 0 || every > most || iterations > every * most) {
            revert IDisputes.BadLength(iterations, submission.every);
        }
        return (uint32(iterations), uint16(every));
    }

    /// S = ceil(T / k).
    function countSegments(IDisputes.Dispute storage d) internal view returns (uint256) {
        return (uint256(d.iterations) + d.every - 1) / d.every;
    }

    /// The iterations of the first differing segment: the last may be shorter.
    function countSegment(IDisputes.Dispute storage d) internal view returns (uint256) {
        (uint256 iterations, uint256 every) = (d.iterations, d.every);
        uint256 rest = iterations - d.segment * every;
        return rest < every ? rest : every;
    }

    /// After how many iterations the last agreed state is; where the first states differ: 0.
    function findIteration(IDisputes.Dispute storage d) internal view returns (uint64) {
        uint256 within = d.isFine ? d.position - 1 : 0;
        return uint64(d.segment * uint256(d.every) + within);
    }

    /// How many levels an answer goes down.
    function countDown(IDisputes.Dispute storage d) internal view returns (uint256) {
        return d.height < d.arity ? d.height : d.arity;
    }

    /// The hash of a leaf of the open level's trees.
    function hashLeafAt(
        IDisputes.Dispute storage d,
        IDisputes.Submission calldata submission,
        uint256 index,
        bytes32 digest
    ) internal view returns (bytes32) {
        uint256 iteration = index;
        if (!d.isFine) {
            iteration = index * d.every;
            if (iteration > d.iterations) iteration = d.iterations;
        }
        return TraceTrees.hashTraceLeaf(submission, index, iteration, digest);
    }
}
