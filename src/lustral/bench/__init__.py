"""Recipe -> plan -> run -> store: the only layer that puts a purifier before a target and hands an oracle to an attack."""
