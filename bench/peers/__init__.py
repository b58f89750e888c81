"""Other libraries side by side with attncc, on a CPU, in one run: python -m bench.peers."""
