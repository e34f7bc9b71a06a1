// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// What the tests ask of an EVM: storage, events, every way to fail, what a block says of itself.
contract Probe {
    event Kept(address indexed who, uint256 indexed slot, uint256 value, bytes data);
    event Transfer(address indexed from, address indexed to, uint256 value);

    error TooSmall(uint256 value, address who);

    mapping(uint256 => uint256) public slots;
    mapping(address => uint256) public balanceOf;
    uint256 public total;
    bytes32 public transient_;

    constructor(uint256 supply) payable {
        balanceOf[msg.sender] = supply;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        if (balanceOf[msg.sender] < value) revert TooSmall(value, msg.sender);
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }

    function keep(uint256 slot, uint256 value, bytes calldata data) external returns (uint256 old) {
        old = slots[slot];
        slots[slot] = value;
        total += value;
        emit Kept(msg.sender, slot, value, data);
    }

    function clear(uint256 first, uint256 count) external {
        for (uint256 i; i < count; ++i) slots[first + i] = 0;
    }

    function failWithError(uint256 value) external view {
        revert TooSmall(value, msg.sender);
    }

    function failWithText() external pure {
        require(false, "no such luck");
    }

    function failWithPanic(uint256 value) external pure returns (uint256) {
        return 10 / value;
    }

    function failInvalid() external pure {
        assembly {
            invalid()
        }
    }

    function burn(uint256 rounds) external returns (uint256 sum) {
        for (uint256 i; i < rounds; ++i) sum = uint256(keccak256(abi.encode(sum, i)));
        total = sum;
    }

    /// Calls itself so deep: 63/64 of the gas go down each time.
    function dive(uint256 depth) external returns (uint256) {
        if (depth == 0) return ++total;
        return this.dive(depth - 1) + 1;
    }

    /// One that fails within does not undo the others.
    function tryAll() external returns (uint256 failed) {
        try this.failWithText() {} catch { ++failed; }
        try this.failInvalid{gas: 20_000}() {} catch { ++failed; }
        try this.keep(77, 7, "") returns (uint256) {} catch { ++failed; }
        total = failed;
    }

    function spawn(bytes32 salt) external returns (address made) {
        made = address(new Child{salt: salt}());
        emit Kept(made, uint256(salt), 0, "");
    }

    function destroy(bytes32 salt) external {
        new Child{salt: salt}().end(payable(msg.sender));
    }

    function lock(uint256 value) external returns (uint256 read) {
        assembly {
            tstore(5, value)
            read := tload(5)
        }
        transient_ = bytes32(read);
    }

    function recover(bytes32 digest, uint8 v, bytes32 r, bytes32 s) external returns (address who) {
        who = ecrecover(digest, v, r, s);
        emit Kept(who, 0, 0, abi.encode(sha256(abi.encode(digest)), ripemd160(abi.encode(digest))));
    }

    function precompile(address at, bytes calldata data) external returns (bytes memory out) {
        bool ok;
        (ok, out) = at.call(data);
        emit Kept(at, ok ? 1 : 0, out.length, out);
    }

    function pay(address payable to) external payable {
        (bool ok,) = to.call{value: msg.value}("");
        require(ok, "not paid");
    }

    function nameBlock()
        external
        view
        returns (uint256 number, uint256 time, uint256 id, uint256 limit, uint256 balance)
    {
        return (block.number, block.timestamp, block.chainid, block.gaslimit, msg.sender.balance);
    }

    function hashOf(uint256 number) external view returns (bytes32) {
        return blockhash(number);
    }

    receive() external payable {}
}

contract Child {
    function end(address payable to) external {
        selfdestruct(to);
    }
}
