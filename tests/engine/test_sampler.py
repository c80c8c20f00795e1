import pytest
import torch

from scope_batch.engine.sampler import SigmaTable, add_noise_, to_x0_

SHIFT_5 = {
    1000: 1.0,
    900: 0.90005600,
    750: 0.75000006,
    690: 0.68996423,
    600: 0.60031182,
    500: 0.50059956,
    250: 0.25159743,
}


@pytest.mark.parametrize(("timestep", "sigma"), SHIFT_5.items())
def test_shift_5_table(timestep: int, sigma: float) -> None:
    assert SigmaTable(5.0)(timestep) == pytest.approx(sigma, abs=1e-7)


@pytest.mark.parametrize(("timestep", "sigma"), {750: 0.750258, 600: 0.600190, 500: 0.499719, 250: 0.25}.items())
def test_shift_8_table(timestep: int, sigma: float) -> None:
    assert SigmaTable(8.0)(timestep) == pytest.approx(sigma, abs=1e-6)


def test_zero_is_the_end_of_the_table_not_sigma_zero() -> None:
    assert SigmaTable(5.0)(0) == SigmaTable(5.0)(-50) == pytest.approx(0.00498008, abs=1e-8)


def test_clean_undoes_renoise_when_the_flow_is_exact() -> None:
    x0, noise, sigma = torch.randn(1, 2, 3), torch.randn(1, 2, 3), 0.6
    noisy = add_noise_(x0.clone(), noise, sigma)
    assert torch.allclose(to_x0_(noisy, noise - x0, sigma), x0, atol=1e-6)
