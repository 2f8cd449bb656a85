"""Search methods, one file each: how architecture variables become mixing weights and, at the end, a genotype."""
