namespace MLNetMultimodal.Training;

/// <summary>How pictures are varied while training. Everything is off by default: pictures are only scaled to the model's size
/// and normalised.</summary>
public sealed record AugmentationOptions
{
    /// <summary>Smallest part of a picture's area that a random crop keeps, above 0 up to <see cref="CropMaxScale"/>; default 1.
    /// Below 1, a rectangle of random size and place is scaled to the model's size, as torchvision's RandomResizedCrop does
    /// (Szegedy et al. 2015, arXiv:1409.4842, section 6).
    /// CLIP trains with 0.9.</summary>
    public float CropMinScale { get; init => field = Within(value, 1e-4f, 1, nameof(CropMinScale)); } = 1;

    /// <summary>Largest part of a picture's area that a random crop keeps, up to 1; default 1. Takes part where
    /// <see cref="CropMinScale"/> is below 1.</summary>
    public float CropMaxScale { get; init => field = Within(value, 1e-4f, 1, nameof(CropMaxScale)); } = 1;

    /// <summary>Most that a random crop's width and height differ, at least 1: aspect ratios lie between 1/value and value,
    /// evenly in their logarithm; default 4/3.</summary>
    public float CropMaxAspect { get; init => field = Within(value, 1, 100, nameof(CropMaxAspect)); } = 4f / 3;

    /// <summary>True scales with cubic kernels as CLIP does, false with linear ones; both average where they make smaller.
    /// Default true.</summary>
    public bool Bicubic { get; init; } = true;

    /// <summary>Probability of mirroring left and right, 0 to 1; default 0. Not for pictures of text or of digits.</summary>
    public float HorizontalFlip { get; init => field = Within(value, 0, 1, nameof(HorizontalFlip)); }

    /// <summary>Most that brightness changes: values are multiplied by 1 - value to 1 + value, value 0 to 1; default 0.</summary>
    public float Brightness { get; init => field = Within(value, 0, 1, nameof(Brightness)); }

    /// <summary>Most that contrast changes: distances from the mean grey are multiplied by 1 - value to 1 + value, value 0 to 1;
    /// default 0.</summary>
    public float Contrast { get; init => field = Within(value, 0, 1, nameof(Contrast)); }

    /// <summary>Most that saturation changes: distances from a pixel's own grey are multiplied by 1 - value to 1 + value, value 0
    /// to 1; default 0.</summary>
    public float Saturation { get; init => field = Within(value, 0, 1, nameof(Saturation)); }

    /// <summary>Farthest that a picture moves in each direction, in pixels of the result, at least 0; default 0. What it leaves
    /// free is black.</summary>
    public int TranslatePixels { get; init => field = (int)Within(value, 0, 1 << 14, nameof(TranslatePixels)); }

    /// <summary>Probability of painting one rectangle in the mean colour, 0 to 1; default 0 (random erasing, Zhong et al. 2017,
    /// arXiv:1708.04896).</summary>
    public float Erase { get; init => field = Within(value, 0, 1, nameof(Erase)); }

    /// <summary>Smallest part of the area that erasing paints, above 0 up to <see cref="EraseMaxArea"/>; default 0.02.</summary>
    public float EraseMinArea { get; init => field = Within(value, 1e-4f, 1, nameof(EraseMinArea)); } = 0.02f;

    /// <summary>Largest part of the area that erasing paints, up to 1; default 0.33.</summary>
    public float EraseMaxArea { get; init => field = Within(value, 1e-4f, 1, nameof(EraseMaxArea)); } = 0.33f;

    static float Within(float value, float min, float max, string name) =>
        value >= min && value <= max ? value : throw new ArgumentOutOfRangeException(name, value, FormattableString.Invariant($"must be from {min} to {max}."));
}
