// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "./IDisputes.sol";
import {TraceTrees} from "./TraceTrees.sol";

/// Where a dispute's search stands: what an answer must hold, and where it goes on.
library Search {
    /// Begin at the roots of two trees with `size` leaves.
    function search(IDisputes.Dispute storage d, IDisputes.Level level, uint256 size) internal {
        (d.level, d.answered, d.position) = (level, 0, 0);
        (d.size, d.height) = (uint32(size), TraceTrees.computeHeight(size));
        d.nodes = d.roots;
        setDeadline(d, d.answerTime);
    }

    /// Two leaves differ, and all before them are equal.
    function onFound(IDisputes.Dispute storage d) internal {
        bool isSegment = d.level == IDisputes.Level.Segments && d.position > 0;
        if (isSegment) d.segment = d.position - 1;
        d.level = isSegment && countSegment(d) > 1 ? IDisputes.Level.Refining : IDisputes.Level.Showing;
    }

    /// What is asked for now may come for `time` seconds.
    function setDeadline(IDisputes.Dispute storage d, uint32 time) internal {
        d.deadline = uint40(block.timestamp) + time;
    }

    /// One side's nodes `down` levels below the one that differs: as many as there are, hashing to it.
    function checkNodes(
        IDisputes.Dispute storage d,
        uint256 side,
        bytes32[] calldata nodes,
        uint256 count,
        uint256 down
    ) internal view {
        if (nodes.length != count || TraceTrees.computeNode(nodes, down) != d.nodes[side]) {
            revert IDisputes.BadNodes(side);
        }
    }

    /// The leaf that differs holds this digest on this side.
    function checkLeaf(
        IDisputes.Dispute storage d,
        uint256 side,
        IDisputes.Submission calldata submission,
        bytes32 digest
    ) internal view {
        if (hashLeafAt(d, submission, d.position, digest) != d.nodes[side]) {
            revert IDisputes.BadLeaf(side);
        }
    }

    /// The leaf before the one that differs holds this digest; it is the same in both trees.
    function checkAgreed(
        IDisputes.Dispute storage d,
        uint256 side,
        IDisputes.Submission calldata submission,
        bytes32 agreed,
        bytes32[] calldata path
    ) internal view {
        uint256 index = d.position - 1;
        bytes32 leaf = hashLeafAt(d, submission, index, agreed);
        if (agreed == 0 || !TraceTrees.isIncluded(leaf, index, d.size, path, d.roots[side])) {
            revert IDisputes.BadAgreed();
        }
    }

    /// A finer trace begins where both agree and ends in what its party had claimed.
    function checkEnds(
        IDisputes.Dispute storage d,
        IDisputes.Submission calldata submission,
        IDisputes.Refinement calldata refinement
    ) internal view {
        uint256 length = countSegment(d);
        bytes32 first = TraceTrees.hashTraceLeaf(submission, 0, 0, d.agreed);
        bytes32 last = TraceTrees.hashTraceLeaf(submission, length, length, refinement.digest);
        bool isBound = TraceTrees.isIncluded(first, 0, length + 1, refinement.firstPath, refinement.root)
            && TraceTrees.isIncluded(last, length, length + 1, refinement.lastPath, refinement.root);
        if (!isBound) revert IDisputes.BadEnds();
    }

    /// T, and k as far as T goes; refused where a tree would have more leaves than a trace may.
    function checkLength(IDisputes.Submission calldata submission) internal pure returns (uint40, uint32) {
        (uint256 iterations, uint256 every) = (submission.iterations, submission.every);
        if (every > iterations) every = iterations;
        // a segment's finer trace has a leaf more than it has iterations, too
        uint256 most = TraceTrees.LEAVES_MAX - 1;
        if (every == 0 || every > most || iterations > every * most) {
            revert IDisputes.BadLength(iterations, submission.every);
        }
        return (uint40(iterations), uint32(every));
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
