"""A model of your own behind a purifier: what it is worth, and how to deploy it.

python examples/own_model.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lustral


class NearestMean(nn.Module):
    """The class whose mean colours, in a coarse grid, are nearest; normalisation is inside, as it must be."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        features = self.features(images)
        means = [features[labels == label].mean(0) for label in labels.unique()]
        self.register_buffer("means", torch.stack(means))  # (classes, k)

    def features(self, x: Tensor) -> Tensor:
        normalised = (x - 0.45) / 0.25
        return nn.functional.adaptive_avg_pool2d(normalised, 2).flatten(1)  # (n, k)

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(self.features(x), self.means)  # (n, classes): nearer is larger


def main() -> None:
    """Fit on the training patches, evaluate on 40 test patches with and without a defence, then deploy."""
    train = lustral.parse_data("scenes:split=train,count=500").load()
    test = lustral.parse_data("scenes:split=test,count=40").load()
    model = NearestMean(lustral.from_uint8(train.stack()), torch.from_numpy(train.truth)).eval()
    images, labels = lustral.from_uint8(test.stack()), torch.from_numpy(test.truth)

    for purifier in ("identity", "median_blur:kernel=5", "random_crop | jpeg:quality=75"):
        result = lustral.evaluate(
            model, images, labels, purifier=purifier, attack="pgd:epsilon=8/255,steps=10", access="exact:eot=4"
        )
        print(f"{purifier}\n{result}\n")

    defended = lustral.Defended(model, lustral.parse_purifier("random_crop").build(), votes=5)
    print("labels  ", labels[:8].tolist())
    print("defended", defended(images[:8]).argmax(1).tolist())


if __name__ == "__main__":
    main()
