"""Our works beside those of every installed peer, in one run."""
