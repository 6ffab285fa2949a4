using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="AudioTokensCatalog.AudioTokens"/>. Exactly one of <see cref="Model"/> and
/// <see cref="LoadedCodec"/> is set.</summary>
public sealed record AudioTokensOptions
{
    /// <summary>The column that is added: a vector of keys (UInt32), 1 for code 0, frame after frame with the K codes of a frame
    /// side by side, and the annotations <c>SampleRateHz</c> and <c>Codebooks</c> (K), Int32; default <c>Codes</c>.</summary>
    public string Output { get; init => field = Checked.Name(value); } = "Codes";

    /// <inheritdoc cref="LoadAudioOptions.Audio"/>
    public required string Audio { get; init => field = Checked.Name(value); }

    /// <inheritdoc cref="LoadAudioOptions.AudioFolder"/>
    public string? AudioFolder { get; init; }

    /// <inheritdoc cref="LoadAudioOptions.AudioSampleRateHz"/>
    public int? AudioSampleRateHz { get; init => field = Checked.RateOrNull(value); }

    /// <summary>The codec: a folder in the Hugging Face layout, of the family <c>encodec</c>.</summary>
    public string? Model { get; init; }

    /// <summary>A codec that was loaded elsewhere, in place of a folder. The caller disposes it, after all transformers that use
    /// it.</summary>
    [JsonIgnore]
    public AudioCodec? LoadedCodec { get; init; }

    /// <summary>Bit rate in kilobits per second, which pays for as many codebooks; null for all (<see
    /// cref="AudioCodec.Encode"/>).</summary>
    public float? Kbps { get; init; }

    /// <summary>Samples that are coded of every row, 1 to 2^27, at the codec's rate: longer sounds are cut, shorter ones filled
    /// up with silence, so that vectors have one size. Default null: each row as long as its sound.</summary>
    public int? FixedSamples
    {
        get;
        init => field = value is null ? null : LoadAudioOptions.Fixed(value.Value);
    }

    /// <summary>Threads that one run of the codec uses, 0 for one per core; default 0. Without effect on
    /// <see cref="LoadedCodec"/>.</summary>
    public int Threads { get; init => field = Checked.AtLeastZero(value); }

    /// <summary>What happens where a sound cannot be read; default <see cref="OnError.Throw"/>. Missing codes are missing keys
    /// with <see cref="FixedSamples"/>, else there are none.</summary>
    public OnError OnError { get; init; }

    SoundColumn Column => new(Audio, AudioFolder, AudioSampleRateHz);

    internal VectorStep<SoundPart, uint> Step(AudioCodec codec)
    {
        var key = new KeyDataViewType(typeof(uint), codec.Config.CodebookSize);
        int codebooks = codec.CodebooksFor(Kbps);
        int frames = FixedSamples is { } samples ? (samples + codec.Config.HopSamples - 1) / codec.Config.HopSamples : 0;
        AudioPreprocessing heard = LoadAudioOptions.Heard(codec.Config.SampleRateHz, FixedSamples);
        return new()
        {
            Output = Output,
            Input = Column,
            Type = new(key, checked(frames * codebooks)),
            Annotations =
            [
                (SoundColumn.SampleRateAnnotation, codec.Config.SampleRateHz), (CodeColumn.CodebooksAnnotation, codebooks),
            ],
            Compute = (part, slot) => Code(codec, heard.Apply(Column.Decode(part, slot, heard))),
            Missing = 0,
            OnError = OnError,
        };
    }

    internal SchemaShape After(SchemaShape before)
    {
        Column.Check(before);
        return Shape.After(before, Shape.Keys(Output, FixedSamples is not null,
            Shape.Scalar(SoundColumn.SampleRateAnnotation, NumberDataViewType.Int32), Shape.Scalar(CodeColumn.CodebooksAnnotation, NumberDataViewType.Int32)));
    }

    uint[] Code(AudioCodec codec, float[] samples)
    {
        if (samples.Length < FixedSamples) Array.Resize(ref samples, FixedSamples.Value);
        CodedSound sound = codec.Encode(samples, Kbps);
        long[] codes = sound.Segments[0].Codes; // [K, frames]
        int frames = codes.Length / sound.Codebooks;
        var keys = new uint[codes.Length];
        for (int i = 0; i < codes.Length; i++)
            keys[i % frames * sound.Codebooks + i / frames] = (uint)codes[i] + 1; // [K, frames] -> [frames, K]
        return keys;
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class AudioTokensCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Turns sounds into the codes of a neural codec (EnCodec: Défossez et al. 2022, arXiv:2210.13438), on worker
        /// threads; <c>DecodeAudio</c> turns them back. For codecs of one channel that code a sound as a whole.</summary>
        /// <param name="options">Columns and codec.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the codec and trains nothing.</returns>
        /// <exception cref="ArgumentException">Not exactly one codec is given.</exception>
        public CodecEstimator AudioTokens(AudioTokensOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            return new(MlNet.Environment(catalog), new(options, null));
        }
    }
}
