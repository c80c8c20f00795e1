"""Plans a job: turns it into frozen chunks with every default resolved, before anything is loaded."""

from scope_batch.core.plan import ClipFacts
from scope_batch.plan.planner import plan_job
from scope_batch.plan.view.json import plan_to_dict

__all__ = ["ClipFacts", "plan_job", "plan_to_dict"]
