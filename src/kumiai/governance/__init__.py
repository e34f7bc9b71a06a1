"""Floor 2: who may stop a run, and what their order must look like."""
