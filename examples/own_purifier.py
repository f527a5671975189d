"""A purifier of your own, outside lustral: written, made known, evaluated and tested.

python examples/own_purifier.py            # evaluates it
python -m pytest examples/own_purifier.py  # runs the contract suite over it, in a checkout
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

import lustral
from lustral.purifiers import PurifierSettings
from lustral.seeds import Noise
from lustral.settings import Number
from lustral.tensors import Images


class Fog(PurifierSettings):
    """Mix every image with one random grey of its own.

    Args:
        share: of the grey; 0 does nothing, below 1.

    Source: this example; no paper.
    """

    name: ClassVar[str] = "fog"
    source: ClassVar[str] = "example"
    gradient: ClassVar = "exact"
    is_random: ClassVar[bool] = True
    share: Number = Field(default=0.3, gt=0, lt=1)

    def purify(self, x: Images, noise: Noise) -> Images:
        grey = noise.numbers().to(x)[:, :, None, None]  # (n, 1, 1, 1), uniform in [0, 1]
        return (1 - self.share) * x + self.share * grey


lustral.PURIFIERS[Fog.name] = Fog  # in this process; recipes run in other processes need it in the package


def main() -> None:
    """Put it in front of the scenes classifier and attack it."""
    model = lustral.parse_target("scenes_classifier").build()
    data = lustral.parse_data("scenes:split=test,count=20").load()
    images, labels = lustral.from_uint8(data.stack()), torch.from_numpy(data.truth)
    print(
        lustral.evaluate(model, images, labels, purifier="fog:share=0.5", attack="pgd:steps=10", access="exact:eot=2")
    )


try:
    from tests.contracts.purifiers import PurifierContract
except ImportError:  # not in a checkout, or run as a script
    pass
else:

    class TestFog(PurifierContract):
        """The contract of every purifier, over two of ours."""

        cases = (Fog(), Fog(share=0.7))


if __name__ == "__main__":
    main()
