"""One render from a job to its outputs: preparation, the loop over chunks, and the engines that are kept loaded."""
