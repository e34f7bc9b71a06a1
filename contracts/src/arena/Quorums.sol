// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {ArenaState} from "./State.sol";

/// Who signed: EIP-712 digests, and the signatures of committees, guardians and single members.
abstract contract Quorums is ArenaState {
    bytes32 internal constant CERTIFICATE_TYPEHASH = keccak256(
        "Certificate(bytes32 task,uint32 round,uint32 attempt,bool isFinal,bytes32 body,bytes32 submissions,bytes32 payments,uint128 paid,uint128 locked,bytes32 slashes,bytes32 nextCommittee)"
    );
    bytes32 internal constant VERDICT_TYPEHASH = keccak256("Verdict(bytes32 task,bytes32 slashes)");
    bytes32 internal constant ORDER_TYPEHASH = keccak256(
        "Order(bytes32 task,uint8 action,uint40 until,uint32 nonce,uint40 deadline,string reason)"
    );
    bytes32 internal constant ADMISSION_TYPEHASH =
        keccak256("Admission(bytes32 task,address member,uint8 role,uint40 deadline)");
    bytes32 internal constant ENROLMENT_TYPEHASH = keccak256(
        "Enrolment(bytes32 task,address member,uint8 role,uint128 amount,bytes32 document,uint40 deadline)"
    );

    function computeDigest(Certificate calldata certificate) public view returns (bytes32) {
        return _hashTypedData(keccak256(abi.encode(CERTIFICATE_TYPEHASH, certificate)));
    }

    /// Revert unless more than two thirds of the task's committee signed `digest`. Who is the whole
    /// committee and sends the call itself need not sign: so a contract can be a committee.
    function _checkCommittee(bytes32 committee, bytes32 digest, Quorum calldata quorum)
        internal
        view
    {
        uint256 n = quorum.members.length;
        if (n == 0 || n > COMMITTEE_SIZE_MAX || _computeHash(quorum.members) != committee) {
            revert BadCommittee();
        }
        if (n == 1 && quorum.members[0] == msg.sender) return;
        uint256 faulty = (n - 1) / 3;
        _checkSignatures(digest, quorum, (n + faulty) / 2 + 1);
    }

    /// Revert unless each of at least `required` different members signed `digest`.
    function _checkSignatures(bytes32 digest, Quorum calldata quorum, uint256 required)
        internal
        pure
    {
        uint256 signers = quorum.signers;
        address[] calldata members = quorum.members;
        bytes calldata signatures = quorum.signatures;
        if (members.length < 256 && signers >> members.length != 0) revert BadCommittee();
        address last;
        uint256 count;
        for (uint256 i; signers != 0; ++i) {
            if (signers & 1 != 0) {
                address member = members[i];
                if (member <= last) revert BadCommittee(); // nobody counts twice
                last = member;
                uint256 offset = count * 64;
                if (offset + 64 > signatures.length) revert NoQuorum(count, required);
                bytes32 r;
                bytes32 vs;
                assembly ("memory-safe") {
                    r := calldataload(add(signatures.offset, offset))
                    vs := calldataload(add(add(signatures.offset, offset), 32))
                }
                (address recovered,,) = ECDSA.tryRecover(digest, r, vs);
                if (recovered != member) revert BadSignature(member, recovered);
                ++count;
            }
            signers >>= 1;
        }
        if (count < required || signatures.length != count * 64) revert NoQuorum(count, required);
    }

    /// Say who signed `digest` with a 65-byte signature; 0: nobody (also for a high s).
    function _recover(bytes32 digest, bytes calldata signature) internal pure returns (address who) {
        (who,,) = ECDSA.tryRecoverCalldata(digest, signature);
    }

    /// The hash that names a committee: each address in a word of its own, no length before them.
    function _computeHash(address[] calldata members) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(members));
    }
}
