"""How this node is: a look a second, what is wrong with it, and telling the market."""
