"""The supernet in fewer and larger steps: equal operations of several edges as one."""

from applications.nas.networks.batched.supernet import BatchedSupernet, batched_state, in_form, obstacle, plain_state

__all__ = ["BatchedSupernet", "batched_state", "in_form", "obstacle", "plain_state"]
