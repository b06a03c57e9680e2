"""What computes a proof: numpy on a CPU; CuPy or PyTorch on a GPU, where the node's GPU runtime has them."""
