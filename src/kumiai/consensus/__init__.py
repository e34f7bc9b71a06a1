"""Floor 2: agreement arithmetic: quorums and the committee's random beacon."""
