"""The processes of a market, one file each; `gridbay process NAME` runs its `main`."""
