"""One example of every purifier; those that cannot be made without arguments need a line here."""

from lustral.purifiers import (
    JPEG,
    PURIFIERS,
    Chain,
    ColorQuantization,
    Flip,
    GaussianBlur,
    PurifierSettings,
    RandomChoice,
    RandomCrop,
    RandomNoise,
    Repeat,
)

WITH_ARGUMENTS: dict[str, PurifierSettings] = {
    "chain": Chain(parts=(JPEG(quality=75), Flip())),
    "repeat": Repeat(part=RandomNoise(sigma=0.02), times=3),
    "random_choice": RandomChoice(parts=(ColorQuantization(), Flip(), RandomCrop()), weights=(1, 2, 1)),
}


def default(name: str) -> PurifierSettings:
    return WITH_ARGUMENTS[name] if name in WITH_ARGUMENTS else PURIFIERS[name].make()


def presets() -> list[PurifierSettings]:
    return [cls(**preset) for cls in PURIFIERS.values() for preset in cls.presets]


def every_case() -> list[PurifierSettings]:
    more = [
        JPEG(backward="surrogate"),
        JPEG(backward="surrogate", subsampling="4:4:4"),
        PURIFIERS["diff_jpeg"].make(subsampling="4:4:4"),
        Flip(axes="horizontal"),
        Flip(axes="vertical"),
        Chain(parts=(GaussianBlur(), RandomNoise())),
        RandomChoice(parts=(Flip(), Flip())),
    ]
    return list(dict.fromkeys([*map(default, PURIFIERS), *presets(), *more]))
