"""What to do when the arena refuses: a sentence for each of its errors, for people.

Given to `Node(advice=ADVICE)`; a test holds the names against the contract's own errors.
"""

from __future__ import annotations

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "AmountZero": "Give an amount above zero.",
    "BadCommittee": "Give the task's present committee, addresses ascending, none twice.",
    "BadOrder": "Another order was carried out first: have the guardians sign the next number.",
    "BadProof": "Make the proof again from the round's payroll; account or amount differ.",
    "BadSignature": "One signature is not its member's: collect the signatures again.",
    "BadTerms": "Correct the named field of the task's terms.",
    "EvidenceUsed": "The member was slashed for this already; nothing more is to be done.",
    "Expired": "The signature's deadline has passed: ask for a new one.",
    "IsPaused": "The guardians paused the task; try again after the named time.",
    "NoContradiction": "The two certificates must be of one round and attempt, and differ.",
    "NoQuorum": "Collect more signatures of the committee.",
    "NotAdmitted": "Ask the task's admission signer for an admission of this address.",
    "NotArbiter": "Only the disputes contract may do this.",
    "NotMember": "The address takes no part in the task: stake first.",
    "NotOwner": "Only the task's owner may do this; use the owner's account.",
    "NothingToClaim": "All that this round's root gives was claimed already.",
    "NothingToWithdraw": "There is nothing left for this address.",
    "OtherRole": "The address takes part in another role; use another address.",
    "Overdrawn": "The task has less money than asked: fund it, or settle less.",
    "RootInactive": "The round can still be disputed; claim after the named time.",
    "RootIsBlocked": "A dispute about an earlier round is open; claim once it is decided.",
    "RoundNotNext": "The round was settled already; settle a later one.",
    "SigmaFrozen": "The share can be changed once a day and no more shortly before the end.",
    "SigmaOutside": "Choose a share within the task's bounds.",
    "SlashesDiffer": "Send exactly the slashes that the committee signed, in their order.",
    "StakeHeld": "A dispute against the member is open; withdraw once it is decided.",
    "StakeTooSmall": "Stake at least the task's minimum for the role.",
    "TaskExists": "The owner created a task with this document already.",
    "TokenAmountDiffers": "The token takes a fee on transfers; use another token.",
    "TooEarly": "Try again after the named time.",
    "TooManySlashes": "Send the slashes in several batches.",
    "ValueDiffers": "Send exactly the amount as value, or none where the task pays in a token.",
    "WrongDocument": "The document differs from the task's: read the task again before staking.",
    "WrongStatus": "The task is in another state; look at its status.",
    # of the token
    "ERC20InsufficientAllowance": "Approve the arena for the amount first.",
    "ERC20InsufficientBalance": "The account holds fewer tokens than asked.",
    "SafeERC20FailedOperation": "The token refused the transfer: check balance and approval.",
}
