"""Neural architecture search: cell-based search spaces, search methods and the networks that they find.

`space` holds what can be chosen (operations, cells, genotypes), `methods` how it is chosen (one file a method),
`supernet` the network that holds every choice at once, `network` and `imagenet` the networks built from one choice.
"""
