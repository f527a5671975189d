"""One call for your own model, against models whose robust accuracy is known."""

import pytest
import torch
from torch import nn

import lustral

EPSILON = 8 / 255


class Linear(nn.Module):
    """Two logits +s and -s of a linear score: robust exactly where |s| > epsilon * ||w||_1."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3 * 8 * 8, generator=generator))
        self.eval()

    def score(self, x):
        return (x - 0.5).flatten(1) @ self.weight

    def forward(self, x):
        s = self.score(x)
        return torch.stack([s, -s], 1)


@pytest.fixture(scope="module")
def problem():
    model = Linear()
    x = torch.rand(150, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    x = (x * 255).round() / 255
    with torch.no_grad():
        score = model.score(x)
    return model, x, (score < 0).long(), score.abs() > EPSILON * model.weight.detach().abs().sum()


def test_the_truth_about_a_linear_model_is_found_to_the_last_image(problem):
    model, x, y, robust = problem
    found = lustral.evaluate(model, x, y, attack="pgd:epsilon=8/255,steps=10", access="exact", batch=64)
    assert 0.1 < robust.float().mean() < 0.9
    assert (~found.broken[:, 0]).tolist() == robust.tolist()
    assert found.clean.average == 1
    assert found.robust.average == pytest.approx(robust.float().mean().item())
    assert found.robust.interval[0] < found.robust.average < found.robust.interval[1]
    assert float((found.adversarial - x).abs().max()) <= EPSILON + 1e-6
    assert not any(verdict.verdict == "FAIL" for verdict in found.indicators.values())
    assert "robust accuracy" in str(found)


def test_results_do_not_depend_on_the_batch_size_of_a_linear_model(problem):
    _, x, y, _ = problem
    model = Linear().double()
    first, second = (
        lustral.evaluate(model, x.double(), y, attack="fgsm:epsilon=8/255", access="exact", batch=batch)
        for batch in (150, 40)
    )
    assert (first.broken == second.broken).all()


def test_a_random_defence_gets_fresh_draws_and_its_three_figures(problem):
    model, x, y, _ = problem
    found = lustral.evaluate(
        model, x[:40], y[:40], purifier="random_noise:sigma=0.2", attack="pgd:epsilon=2/255,steps=5",
        access="exact:eot=4", draws=12, worst_of_m=6,
    )  # fmt: skip
    assert found.broken.shape == (40, 12)
    assert found.clean.worst <= found.clean.average <= 1
    assert found.robust.worst <= found.robust.average
    assert found.queries == 4 * 6
    again = lustral.evaluate(
        model, x[:40], y[:40], purifier="random_noise:sigma=0.2", attack="pgd:epsilon=2/255,steps=5",
        access="exact:eot=4", draws=12, worst_of_m=6,
    )  # fmt: skip
    assert (found.broken == again.broken).all()


def test_a_gradient_free_defence_is_flagged_not_trusted(problem):
    _, x, y, _ = problem

    class Quantised(Linear):
        def forward(self, x):
            return super().forward((x * 4).round() / 4)

    found = lustral.evaluate(Quantised(), x[:20], y[:20], attack="pgd:epsilon=8/255,steps=3", access="exact")
    assert found.indicators["I2"].verdict == "FAIL"
    assert "FAIL I2" in str(found)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": torch.zeros(4, 8, 8, 3)}, ValueError, "move channels first"),
        ({"images": torch.full((4, 3, 8, 8), 7.0)}, ValueError, "divide by 255"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, ValueError, r"labels must be int64 \(4,\)"),
        ({"labels": torch.zeros(4)}, ValueError, "labels must be int64"),
        ({"purifier": "jpge"}, ValueError, "did you mean"),
        ({"attack": "pgd:epsilon=-1"}, ValueError, "pgd.epsilon"),
    ],
)
def test_bad_input_is_explained(problem, change, error, message):
    model = problem[0]
    arguments = {"images": torch.zeros(4, 3, 8, 8), "labels": torch.zeros(4, dtype=torch.int64), **change}
    with pytest.raises(error, match=message):
        lustral.evaluate(model, arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_a_model_in_training_mode_is_refused(problem):
    _, x, y, _ = problem
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        lustral.evaluate(Linear().train(), x[:2], y[:2])
