"""A session in the browser: a page over a running graph, a results folder or a recording."""
