"""Ways to carry out cells: on this machine, and later through Ray or Slurm."""
