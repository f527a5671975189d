"""Recipe -> plan -> run -> store: the layer that puts a purifier before a target and hands an oracle to an attack."""
