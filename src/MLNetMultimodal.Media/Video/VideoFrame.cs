using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Video;

/// <summary>A picture of a video.</summary>
/// <param name="Time">When it is on the screen, from the beginning of the file.</param>
/// <param name="Image">The picture, [H, W, 3].</param>
public readonly record struct VideoFrame(TimeSpan Time, RgbImage Image);
