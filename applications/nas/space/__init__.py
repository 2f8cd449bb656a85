"""The search space: operations, cells, the skeleton that stacks cells, genotypes, and published genotypes."""
