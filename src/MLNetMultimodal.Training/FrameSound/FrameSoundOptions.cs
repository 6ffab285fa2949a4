using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="FrameSoundTrainer"/> does. A batch of B clips makes B * B pairs of frames and soundtracks, so that batches
/// are small: 16 to 32 where the default of 64 takes too long.</summary>
public sealed record FrameSoundOptions : TrainingOptions
{
    /// <summary>Column of videos with sound: a path as text, or the bytes of a video file.</summary>
    public required string Video { get; init; }

    /// <summary>Folder that relative paths start from; null for the working folder.</summary>
    public string? VideoFolder { get; init; }

    /// <summary>Sizes of the model; those of a tower that is given by <see cref="PictureTower"/> or <see cref="SoundTower"/> come from
    /// its folder. Default <see cref="FrameSoundFusionConfig.Tiny"/>.</summary>
    public FrameSoundFusionConfig Model { get; init; } = FrameSoundFusionConfig.Tiny;

    /// <summary>How spectrograms are made for a sound tower of random weights, as many frames and bins as <see cref="Model"/> says;
    /// null, the default, for Kaldi's filter bank at 16,000 Hz.</summary>
    public SpectrogramPreprocessing? Spectrogram { get; init; }

    /// <summary>A CLIP whose picture tower and preprocessing are taken: a folder, or one of the hub; null, the default, starts from
    /// random weights.</summary>
    public string? PictureTower { get; init; }

    /// <summary>An audio spectrogram transformer whose tower and preprocessing are taken: a folder, or one of the hub; null, the
    /// default, starts from random weights.</summary>
    public string? SoundTower { get; init; }

    /// <summary>True, the default: towers that are given stay as they are, and only the fusion is trained.</summary>
    public bool FreezeTowers { get; init; } = true;

    private protected override int MinBatchSize => 2;

    private protected override IReadOnlyCollection<string> NotDescribed =>
        [nameof(Video), nameof(VideoFolder), nameof(Model), nameof(PictureTower), nameof(SoundTower)]; // the config describes the model
}
