"""Which of an attack's points stands: judged over draws that the attack has not seen, as 8-bit images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lustral.attacks.answers import Selection
from lustral.attacks.passes import in_groups
from lustral.seeds import Noise
from lustral.tensors import Images

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle

__all__ = ["select"]


@torch.no_grad()
def select(oracle: Oracle, final: Images, noise: Noise, draws: int = 20, *, only_final: bool = False) -> Selection:
    """Choose per image among the clean image, the last iterate and the remembered points.

    Every candidate is rounded to 8 bits without leaving the ball, then judged
    over ``draws`` fresh draws of the defence (one if it is not random): most draws broken first, then
    the largest mean margin. These passes belong to the protocol and are not charged to the attack.

    Args:
        oracle: of the whole chunk.
        final: the attack's last iterate (n, 3, h, w).
        noise: draws that were not used during the attack.
        draws: judgements per candidate.
        only_final: whether the last iterate stands, however it fares.

    Raises:
        ValueError: ``final`` lies outside the ball.
    """
    if oracle.ball is not None and not bool(oracle.ball.contains(final, oracle.clean).all()):
        raise ValueError("the attack left its ball; project its result")
    if oracle.access.knowledge == "known_noise":
        noise, draws = oracle.noise, 1
    draws = 1 if oracle.purifier is None else draws
    candidates = last = final.detach()[:, None]
    if not only_final:
        candidates = torch.cat([oracle.clean[:, None], last, oracle.memory.points], 1)
    rounded = torch.empty_like(candidates)
    rates: list[Tensor] = []
    margins: list[Tensor] = []
    for index in range(candidates.shape[1]):
        rounded[:, index] = x = oracle.rounded(candidates[:, index])
        rate, mean = _judge(oracle, x, noise.draws(0, draws), draws)
        rates.append(rate)
        margins.append(mean)
    rate, mean = torch.stack(rates, 1), torch.stack(margins, 1)  # (n, candidates)
    best = mean.masked_fill(rate < rate.amax(1, keepdim=True), -torch.inf).argmax(1)
    everyone = torch.arange(len(final), device=final.device)
    share, final_share = rate[everyone, best], rate[:, 0 if only_final else 1]
    rescued = (share > 0.5) & (final_share <= 0.5)
    return Selection(rounded[everyone, best], candidates[everyone, best], share, final_share, rescued)


def _judge(oracle: Oracle, x: Images, noise: Noise, draws: int) -> tuple[Tensor, Tensor]:
    """Share of draws broken and mean margin of one candidate per image, under the deployed defence."""

    def look(part: Tensor, some: Noise, draws: int) -> tuple[Tensor, ...]:
        rows, copies = part.repeat_interleave(draws), x[part].repeat_interleave(draws, 0)
        outputs = oracle.target(copies if oracle.purifier is None else oracle.purifier(copies, some))
        verdicts = oracle.goal.broken(outputs, rows).float(), oracle.goal.margin(outputs, rows)
        return tuple(values.unflatten(0, (-1, draws)).mean(1) for values in verdicts)

    rate, margin = in_groups(look, x, draws, noise, oracle.batch)
    return rate, margin
