// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// What the client's tests ring: counts its calls, emits events, refuses on demand.
contract Bell {
    event Rung(address indexed by, uint256 indexed number, bytes note);

    error TooLoud(uint256 given, uint256 most);

    uint256 public rings;
    uint256 public most = 1000;

    function allow(uint256 times) external {
        most = times;
    }

    function ring(bytes calldata note) external payable {
        emit Rung(msg.sender, ++rings, note);
    }

    function ringTimes(uint256 times) external {
        if (times > most) revert TooLoud(times, most);
        for (uint256 i = 0; i < times; ++i) emit Rung(msg.sender, ++rings, "");
    }

    function scold() external pure {
        revert("not now");
    }
}
