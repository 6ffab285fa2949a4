using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Video;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Transforms;

/// <summary>From a video to what the fusion of frames and soundtrack takes: frames spread evenly over the time that the spectrogram
/// lasts, from the beginning. Of a shorter video the last frame stays on the screen.</summary>
sealed class FrameSoundClip
{
    public FrameSoundClip(FrameSoundFusionConfig config, ImagePreprocessing images, AudioPreprocessing sounds, string name)
    {
        if (images.Height != config.Vision.ImageSize || images.Width != config.Vision.ImageSize)
            throw new InvalidDataException($"the preprocessing of '{name}' makes pictures of {images.Height}x{images.Width}, "
                + $"but its config wants {config.Vision.ImageSize}x{config.Vision.ImageSize}.");
        if (sounds.Spectrogram is not { BinsFirst: false } spectrogram || spectrogram.Frames != config.Audio.Frames
            || spectrogram.LogMel.MelBins != config.Audio.MelBins)
            throw new InvalidDataException($"the preprocessing of '{name}' makes [{string.Join(", ", sounds.Shape(sounds.MaxSamples))}] of a "
                + $"sound, but its config wants spectrograms of [{config.Audio.Frames}, {config.Audio.MelBins}].");
        (Config, Images, Sounds) = (config, images, sounds);
        SecondsPerSpectrogramFrame = (double)spectrogram.LogMel.HopSamples / sounds.SampleRateHz;
    }

    /// <summary>What the folder of a model says.</summary>
    /// <exception cref="NotSupportedException">The model is of another family.</exception>
    /// <exception cref="FileNotFoundException">The model does not say how pictures or sounds are made for it.</exception>
    public static FrameSoundClip Of(MultimodalModel model) => model.Definition is not FrameSoundFusionModel fusion
        ? throw new NotSupportedException($"'{model.Name}' is a '{model.Definition.ModelType}', which does not fuse frames and sound; "
            + "FrameSoundFusion trains one that does.")
        : new(fusion.Config,
            ImagePreprocessing.TryLoad(model.Files.TryRead) ?? throw Unsaid(model, "pictures", "preprocessor_config.json"),
            AudioPreprocessing.TryLoad(model.Files.TryRead) ?? throw Unsaid(model, "sounds", "processor_config.json"), model.Name);

    public FrameSoundFusionConfig Config { get; }

    public ImagePreprocessing Images { get; }

    public AudioPreprocessing Sounds { get; }

    double SecondsPerSpectrogramFrame { get; }

    /// <summary>Seconds from one frame to the next.</summary>
    public double FrameSeconds => Config.Audio.Frames * SecondsPerSpectrogramFrame / Config.Frames;

    /// <summary>Seconds from one moment to the next.</summary>
    public double MomentSeconds => Config.Audio.Stride * SecondsPerSpectrogramFrame;

    /// <summary>Decodes a video.</summary>
    /// <returns>T pictures at the model's size, and the spectrogram.</returns>
    /// <exception cref="InvalidDataException">It has no sound, or is no video.</exception>
    public (RgbImage[] Frames, float[] Spectrogram) Read(VideoDecoder decoder, string path)
    {
        List<RgbImage> frames = [.. decoder.Frames(path, 1 / FrameSeconds).Take(Config.Frames).Select(f => Images.ResizeAndCrop(f.Image))];
        while (frames.Count < Config.Frames) frames.Add(frames[^1]);
        using AudioReader track = decoder.OpenSoundtrack(path).Convert(Sounds.SampleRateHz, 1);
        Waveform sound = track.ReadWaveform(Sounds.MaxSamples);
        return sound.Length > 0 ? ([.. frames], Sounds.Apply(sound)) : throw new InvalidDataException("its soundtrack has no samples.");
    }

    /// <summary>T pictures at the model's size -> [T, C, H, W].</summary>
    public void Normalize(IReadOnlyList<RgbImage> frames, Span<float> pixels)
    {
        int size = 3 * Images.Height * Images.Width;
        for (int t = 0; t < frames.Count; t++) Images.Normalize(frames[t], pixels.Slice(t * size, size));
    }

    static FileNotFoundException Unsaid(MultimodalModel model, string what, string file) =>
        new($"'{model.Name}' does not say how {what} are made for it: it has no {file} that does.");
}
