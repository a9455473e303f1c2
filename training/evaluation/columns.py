"""Columns of evaluation tables: names of the metrics in goals, the page and the JSON file."""

SILHOUETTE_IOU = "silhouette IoU"
SSIM = "SSIM"
SSIM_MASKED = "SSIM masked"
PSNR = "PSNR"
PSNR_MASKED = "PSNR masked"
# Over the targets with a visible mouth or eyes.
PSNR_REGION = "PSNR mouth+eyes"
GRADIENT_ENERGY = "gradient energy"
CHECKERBOARD_ENERGY = "checkerboard energy"
FLIP = "ꟻLIP"
FID = "FID"
FID_PICTURES = "FID pictures"

CSIM = "CSIM"
ID_DISTANCE = "ID distance"
FACE_FOUND = "face found"
AUCON = "AUCON"
AUCON_SHOWN = "AUCON shown"
ACTION_CORRELATION = "action correlation"
PRMSE = "PRMSE"
PRMSE_TO_CAMERA = "PRMSE to camera"
AVD = "AVD"
YAW_ERROR = "yaw error"
PITCH_ERROR = "pitch error"
ROLL_ERROR = "roll error"
POSE_ERROR = "pose error"

# Metrics of pixels; all other columns are metrics of faces.
PICTURE_COLUMNS = (
    SILHOUETTE_IOU,
    SSIM,
    SSIM_MASKED,
    PSNR,
    PSNR_MASKED,
    PSNR_REGION,
    GRADIENT_ENERGY,
    CHECKERBOARD_ENERGY,
    FLIP,
    FID,
    FID_PICTURES,
)
