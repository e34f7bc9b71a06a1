"""What must hold in a simulated market after every input, whatever goes wrong."""

from __future__ import annotations

from kumiai.adapters.sim.market.world import Check, MarketWorld


def check_money(world: MarketWorld) -> str | None:
    """No msat appears or vanishes; nobody owes the bank."""
    counted, funded = world.bank.count_msat(), world.bank.funded_msat
    if counted != funded:
        return f"{counted} msat in the world, {funded} were put in"
    owing = [owner for owner, msat in world.bank.accounts.items() if msat < 0]
    return f"{owing[0]} has less than nothing" if owing else None


def check_paid_once(world: MarketWorld) -> str | None:
    """A key moves money once, and a bill is paid by one key."""
    paid = [a.payment_hash for a in world.bank.attempts.values() if not a.has_failed]
    twice = {name for name in paid if paid.count(name) > 1} if len(set(paid)) < len(paid) else None
    return f"bill {sorted(twice)[0]} was paid under two keys" if twice else None


def check_budget(owner: str, budget_msat: int) -> Check:
    """Return a check that this owner never has more outside than its budget, fees included."""

    def check(world: MarketWorld) -> str | None:
        out = world.bank.get_out_msat(owner) + world.bank.get_fees_msat(owner)
        return f"{out} msat paid or locked, budget {budget_msat}" if out > budget_msat else None

    return check


def find_amnesia(world: MarketWorld) -> str | None:
    """Fold every journal anew: it must give the state that the member has in memory."""
    for member in world.members.values():
        if member.is_up:
            before = member.fold.state
            member_state = member.machine.begin()
            for entry in member.journal:
                at_s, item = member.codec.decode(entry)
                member_state = member.machine.step(member_state, at_s, item).state
            if member_state != before:
                return f"{member.name}'s journal does not give its state"
    return None
