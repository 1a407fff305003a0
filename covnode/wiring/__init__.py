"""One builder per process: receiver, worker, sender, offline analysis."""
