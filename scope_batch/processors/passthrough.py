"""Every frame as it is: the least a processor can be."""

from scope_batch.processors.spec import EachFrame, ProcessorSpec

PASSTHROUGH = ProcessorSpec("passthrough", "leaves every frame as it is", lambda _: EachFrame(lambda frames: frames))
