"""What a node has to offer: its GPUs behind one small port, and the rest of the machine."""
