// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// Play money for test networks: anyone may make as much as they like, so it is worth nothing.
contract Credit is ERC20Permit {
    constructor() ERC20("Kumiai test credit", "KTC") ERC20Permit("Kumiai test credit") {}

    /// Make `amount` for `account`; anyone may.
    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }
}
