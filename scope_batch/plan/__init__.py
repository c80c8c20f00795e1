"""The planner: a job becomes frozen chunks with every default resolved, before anything loads."""

from scope_batch.core.plan import ClipFacts
from scope_batch.plan.document import plan_to_dict
from scope_batch.plan.planner import plan_job

__all__ = ["ClipFacts", "plan_job", "plan_to_dict"]
