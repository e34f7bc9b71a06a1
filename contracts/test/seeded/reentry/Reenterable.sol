// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// A till with the oldest fault there is: it pays before it writes down that it paid. slither is
/// aimed at it, and must say so; then its silence about the arena means something.
contract Reenterable {
    mapping(address who => uint256) public owed;

    function put() external payable {
        owed[msg.sender] += msg.value;
    }

    function take() external {
        uint256 amount = owed[msg.sender];
        (bool isPaid,) = msg.sender.call{value: amount}("");
        require(isPaid, "refused");
        owed[msg.sender] = 0;
    }
}
