"""Floor 3: the run, round, assignment and node machines: `step(state, record) -> Outcome`.

Pure and total: whatever a record holds, `step` returns a new state with effects, or the old state
with a `Reject`. The same fold serves validators, the offline verifier, reports and the simulator.
"""
