"""Error-aware probabilistic update against Adam with writing error."""
