"""Evaluation tables by hand."""

from hidenerf.training.evaluation.expression_response import Response
from hidenerf.training.evaluation.tables import EvaluationTables, Row, Scope, Table

# What every refined picture has: the figures that compare pixels, but for the one of mouth and eyes.
PIXELS: Row = {
    "silhouette IoU": 0.975,
    "SSIM": 0.88,
    "SSIM masked": 0.8,
    "PSNR": 23.0,
    "PSNR masked": 24.5,
    "gradient energy": 1.2,
    "checkerboard energy": 1.0,
}


def tables_with(refined: Row = PIXELS, pose_error: Row | None = None) -> EvaluationTables:
    """All parts, with these figures of the refined pictures in self-reenactment and in cross-identity reenactment."""
    ssims = {"-45": 0.7, "-30": 0.8, "-15": 0.86, "+0": 0.87, "+15": 0.85, "+30": 0.83, "+45": 0.7, "all": 0.8}
    views: dict[str, Table] = {yaw: {"refined": {"SSIM": value}} for yaw, value in ssims.items()}
    responses = {"jawOpen": Response(0.81, 1.3, 0.5, 0.25, 0.125), "smile": Response(0.59, 0.5, 0.5, 0.5, 0.5)}
    return EvaluationTables(
        scope=Scope(2, 1, 1, 1),
        reconstruction={"refined": refined, "mean colour in the true mask": {"SSIM masked": 0.72}},
        cross={"refined": {"pose error": 2.9} if pose_error is None else pose_error},
        free_view=views,
        expressions=responses,
        actions=responses,
    )
