"""The commands of `mlo-nas`, one a file: each has `run(words, console)`."""
