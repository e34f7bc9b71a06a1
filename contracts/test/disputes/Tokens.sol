// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IDisputes} from "../../src/IDisputes.sol";

/// A token that keeps a fee of each transfer, where one is set.
contract FeeToken is ERC20 {
    uint256 public fee;

    constructor(uint256 fee_) ERC20("fee", "FEE") {
        fee = fee_;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (from != address(0) && fee > 0) {
            super._update(from, address(0xFEE), fee);
            amount -= fee;
        }
        super._update(from, to, amount);
    }
}

/// An account that, when paid, asks to be paid again.
contract Greedy {
    IDisputes internal immutable disputes;
    bool public wasPaid;

    constructor(IDisputes disputes_) {
        disputes = disputes_;
    }

    function open(bytes32 task, IDisputes.Submission calldata s, IDisputes.Place calldata place, bytes32 claimed, address[] calldata committee) external payable returns (bytes32) {
        return disputes.open{value: msg.value}(task, s, place, claimed, committee);
    }

    receive() external payable {
        wasPaid = true;
        disputes.withdraw(address(0), address(this));
    }
}
