"""Error-aware probabilistic update (EaPU), as a learner and around torch optimisers."""
