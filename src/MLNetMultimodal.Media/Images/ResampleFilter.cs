namespace MLNetMultimodal.Media.Images;

/// <summary>
/// How a picture is resampled. The numbers are Pillow's, which <c>preprocessor_config.json</c> holds under <c>resample</c>.
/// All but <see cref="Nearest"/> are widened by the scale when shrinking, so they do not alias.
/// </summary>
public enum ResampleFilter
{
    /// <summary>The pixel below the centre, without any averaging.</summary>
    Nearest = 0,

    /// <summary>Windowed sinc over 3 pixels on each side.</summary>
    Lanczos = 1,

    /// <summary>A triangle over 1 pixel on each side.</summary>
    Bilinear = 2,

    /// <summary>Cubic convolution with a = -0.5 over 2 pixels on each side; what CLIP uses.</summary>
    Bicubic = 3,

    /// <summary>The mean of the pixels covered.</summary>
    Box = 4,

    /// <summary>Hamming-windowed sinc over 1 pixel on each side.</summary>
    Hamming = 5,
}
