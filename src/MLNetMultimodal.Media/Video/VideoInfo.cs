namespace MLNetMultimodal.Media.Video;

/// <summary>What a video file says about its first video stream.</summary>
/// <param name="Width">W in pixels, as stored: a picture that is to be turned comes out turned.</param>
/// <param name="Height">H in pixels, as stored.</param>
/// <param name="FramesPerSecond">The mean rate of the frames.</param>
/// <param name="Frames">How many frames there are.</param>
/// <param name="HasSound">Whether there is a soundtrack.</param>
public sealed record VideoInfo(int Width, int Height, double FramesPerSecond, long Frames, bool HasSound)
{
    /// <summary>How long the frames last at their mean rate.</summary>
    public TimeSpan Duration => TimeSpan.FromSeconds(Frames / FramesPerSecond);
}
