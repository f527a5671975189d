"""A target behind a purifier: what is deployed, and what an adaptive attacker has to break."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lustral.seeds import Noise
from lustral.tensors import Images, check_images

__all__ = ["Defended"]


class Defended(nn.Module):
    """A target that sees only purified images; again a target.

    Args:
        target: images (n, 3, h, w) -> logits (n, classes) of a classifier or scores (n,) of a quality metric.
        purifier: ``(images, noise) -> images``, such as a built purifier; one that looks at what it protects is
            built with it, ``settings.build(target=target)``.
        votes: purifications per image, each with its own noise. With 1 the output of the target is returned
            as it is. With more, quality scores are averaged, and for a classifier the result is

                (share of the votes a class got) + (mean softmax of the class) / (2 votes),

            so that its argmax is the class with the most votes, and among classes with equally many the one
            with the largest mean softmax. Only the second term has a gradient.
        seed: None draws fresh entropy at every call, as a deployed defence must: an attacker who knows the
            noise attacks a deterministic defence. With a seed, every call uses the same noise, which depends
            on the seed, the purpose "deployment" and the row of the image in the batch.

    Raises:
        ValueError: ``votes`` is not positive, or the target returns neither (n,) nor (n, classes).
    """

    def __init__(
        self,
        target: Callable[[Images], Tensor],
        purifier: Callable[[Images, Noise], Images],
        votes: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if votes < 1:
            raise ValueError(f"votes must be at least 1, got {votes}")
        self.target = target
        self.purifier = purifier
        self.votes = votes
        self.seed = seed

    def forward(self, x: Images, noise: Noise | None = None) -> Tensor:
        """Purify and judge.

        Args:
            x: images (n, 3, h, w) in [0, 1].
            noise: the noise to use, one stream per image; None follows ``seed``.

        Returns:
            What the target returns, (n, classes) or (n,).
        """
        check_images(x)
        noise = self._noise(len(x)) if noise is None else noise
        if len(noise) != len(x):
            raise ValueError(f"noise was made for {len(noise)} images, got a batch of {len(x)}")
        if self.votes == 1:
            return self._judge(x, noise)
        ballots = noise.fork("votes")
        noise.step += 1  # the next call with this noise must not repeat these votes
        return _combine(torch.stack([self._judge(x, ballots.draws(vote, 1)) for vote in range(self.votes)]))

    def _noise(self, n: int) -> Noise:
        if self.seed is None:
            return Noise.fresh(n)
        return Noise(self.seed, "deployment", [str(row) for row in range(n)])

    def _judge(self, x: Images, noise: Noise) -> Tensor:
        y = self.target(self.purifier(x, noise))
        if y.ndim not in (1, 2) or len(y) != len(x):
            raise ValueError(
                f"a target returns scores (n,) or logits (n, classes) for n = {len(x)} images, got {tuple(y.shape)}"
            )
        return y


def _combine(outputs: Tensor) -> Tensor:
    """Mean of scores (votes, n), or vote shares with mean softmax as tie-break of logits (votes, n, classes)."""
    if outputs.ndim == 2:
        return outputs.mean(dim=0)
    votes, _, classes = outputs.shape
    shares = one_hot(outputs.argmax(dim=2), classes).sum(dim=0).to(outputs.dtype) / votes  # (n, classes)
    return shares + outputs.softmax(dim=2).mean(dim=0) / (2 * votes)
