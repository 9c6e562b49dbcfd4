"""Where runs are made: this process, pinned processes on several cores, or a cluster."""
