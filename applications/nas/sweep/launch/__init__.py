"""Where the points of a sweep run: in worker processes, or as jobs of a scheduler.

What a user asks for is in `settings`. All launchers run the same function in the same folders; `local` starts worker
processes, `cluster` hands jobs to an engine (`submitit_local`, `slurm`), and `call` is what such a job does.
"""
