"""Who earns what if people do as they please: the reward rules played by many, over many rounds.

Read `parameters` (what is assumed, with its source), `conduct` (what each strategy does), `rules`
(the protocol's integer rules over arrays; tests compare them with `rounds` and `settlement`),
`season` (one task from funding to the final ranking), `play` (seeds, worlds, seasons) and
`findings` (margins with intervals, sweeps, the value of a parameter from which honesty pays).
"""
