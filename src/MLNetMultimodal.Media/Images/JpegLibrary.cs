namespace MLNetMultimodal.Media.Images;

/// <summary>What decodes JPEG; pixels are equal whichever it is.</summary>
public enum JpegLibrary
{
    /// <summary>Skia, which comes with the package.</summary>
    Skia,

    /// <summary>The system's TurboJPEG (libjpeg-turbo 2.0 or later, <c>apt-get install libturbojpeg0</c>), which takes about half
    /// the time. A JPEG that it warns of or cannot decode is left to Skia.</summary>
    TurboJpeg,
}
