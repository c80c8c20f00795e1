"""The sizes of the analytic set, for the forecast of device memory. Torch-free."""

from scope_batch.models.sizes import Backbone, ModelSizes, Weights

ANALYTIC_SIZES = ModelSizes(
    Backbone(*(256, 512, 4, 2), weights=Weights(4_703_552, 4_669_440, 140_288), block=Weights(790_272, 786_432, 2_048)),
    *(2, Weights(1_876_480, 1_769_472, 4_096), 8, 924_491, 12_976_384),
    read=True,
)
