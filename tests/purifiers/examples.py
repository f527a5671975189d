"""One example of every purifier; those that cannot be made without arguments need a line here."""

from lustral.purifiers import (
    ADP,
    DDA,
    DDPM,
    EDM,
    GDMP,
    JPEG,
    MSID,
    PURIFIERS,
    VESDE,
    Chain,
    ColorQuantization,
    DiffPIRInpaint,
    DiffPure,
    Flip,
    GaussianBlur,
    Gradual,
    Langevin,
    MimicDiffusion,
    PurifierSettings,
    PuriFlow,
    RandomChoice,
    RandomCrop,
    RandomNoise,
    Repeat,
    ScoreOpt,
    SuperResolve,
    VPSRefine,
)

WITH_ARGUMENTS: dict[str, PurifierSettings] = {
    "chain": Chain(parts=(JPEG(quality=75), Flip())),
    "repeat": Repeat(part=RandomNoise(sigma=0.02), times=3),
    "random_choice": RandomChoice(parts=(ColorQuantization(), Flip(), RandomCrop()), weights=(1, 2, 1)),
    # Few steps: the contract suite purifies some 25 batches per case.
    "ddpm": DDPM(steps=3),
    "langevin": Langevin(time=30),
    "edm": EDM(steps=2),
    "gradual": Gradual(rounds=((30, 1), (50, 2))),
    "mimicdiffusion": MimicDiffusion(steps=4, first=1, last=2),
    "dda": DDA(respaced=20, start=2),
    "gdmp": GDMP(steps=2, rounds=1, scale=300.0),
    "scoreopt": ScoreOpt(steps=2, adam_epsilon=1e-4),  # with 1e-8 central differences need tinier steps
    "adp": ADP(steps=2, stop=0.0),
    "diffpure": DiffPure(steps=3),
    "ve_sde": VESDE(steps=3),
    "diffpir_inpaint": DiffPIRInpaint(steps=3, resamplings=1),
    "vps_refine": VPSRefine(steps=1),
    "msid": MSID(scales=(2, 3), weights=(0.4, 0.6), steps=2, resamplings=1, refine=1, repeats=0),
    "puriflow": PuriFlow(diffusion=DiffPure(steps=2)),
}
AFFORDABLE = 8  # network passes; the contract suite leaves out presets with more, their own tests cover what they do


def default(name: str) -> PurifierSettings:
    return WITH_ARGUMENTS[name] if name in WITH_ARGUMENTS else PURIFIERS[name].make()


def presets() -> list[PurifierSettings]:
    every = [cls.make(**preset) for cls in PURIFIERS.values() for preset in cls.presets]
    # Those of super_resolve have many kinks: test_super_resolve.py runs the contract over them with a smaller step.
    return [settings for settings in every if settings.passes <= AFFORDABLE and settings.name != "super_resolve"]


def every_case() -> list[PurifierSettings]:
    more = [
        JPEG(backward="surrogate"),
        JPEG(backward="surrogate", subsampling="4:4:4"),
        PURIFIERS["diff_jpeg"].make(subsampling="4:4:4"),
        Flip(axes="horizontal"),
        Flip(axes="vertical"),
        Chain(parts=(GaussianBlur(), RandomNoise())),
        RandomChoice(parts=(Flip(), Flip())),
        MimicDiffusion(steps=4, first=1, last=2, backward="identity"),
        GDMP(steps=2, rounds=1, guidance="ssim", scale=30.0, reference="image"),
        ScoreOpt(variant="image", steps=2, adam_epsilon=1e-4),
        DiffPIRInpaint(steps=2, resamplings=2, spacing="uniform", noise_level=0.02, last_guess=False),
        VPSRefine(steps=1, repeats=0, start="inversion"),
        MSID(scales=(3,), weights=(1.0,), mask="threshold", steps=2, resamplings=1, refine=0, mask_backward="soft"),
        MSID(scales=(3,), weights=(1.0,), imputer="histogram", steps=2, resamplings=1, refine=0),
        SuperResolve(kernel="area"),
        SuperResolve(kernel="bilinear"),
    ]
    return list(dict.fromkeys([*map(default, PURIFIERS), *presets(), *more]))
