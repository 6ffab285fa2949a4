using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="LoadAudioCatalog.LoadAudio"/>.</summary>
public sealed record LoadAudioOptions
{
    /// <summary>The column that is added: mono samples, each about -1 to 1, Vector&lt;Single&gt; with the annotation
    /// <c>SampleRateHz</c> (Int32); default <c>Samples</c>.</summary>
    public string Output { get; init => field = Checked.Name(value); } = "Samples";

    /// <summary>Column of sounds: a path as text, the bytes of a sound file as Vector&lt;Byte&gt;, or mono samples as
    /// Vector&lt;Single&gt; whose rate is <see cref="AudioSampleRateHz"/> or the column's annotation <c>SampleRateHz</c>. WAV and
    /// AIFF are read as they are, other formats and the sound of videos by ffmpeg.</summary>
    public required string Audio { get; init => field = Checked.Name(value); }

    /// <summary>Folder that relative paths in <see cref="Audio"/> start from; null for the working directory.</summary>
    public string? AudioFolder { get; init; }

    /// <summary>Samples per second of a column <see cref="Audio"/> of samples; null for its annotation.</summary>
    public int? AudioSampleRateHz { get; init => field = Checked.RateOrNull(value); }

    /// <summary>The wanted rate, to which sounds are resampled, 1 to <see cref="AudioReader.MaxSampleRateHz"/>; default
    /// 16,000.</summary>
    public int SampleRateHz { get; init => field = Checked.Rate(value); } = 16_000;

    /// <summary>T, samples of every row, 1 to 2^27: longer sounds are cut, shorter ones filled up with silence, as trainers want
    /// vectors of one size. Default null: each row as long as its sound.</summary>
    public int? FixedSamples { get; init => field = value is null ? null : Fixed(value.Value); }

    /// <summary>What happens where a sound cannot be read; default <see cref="OnError.Throw"/>. Missing samples are all NaN with
    /// <see cref="FixedSamples"/>, else there are none.</summary>
    public OnError OnError { get; init; }

    internal static int Fixed(int value) => value is >= 1 and <= 1 << 27 ? value
        : throw new ArgumentOutOfRangeException(nameof(FixedSamples), value, "FixedSamples must be 1 to 134217728.");

    /// <summary>The whole sound, or its beginning.</summary>
    internal static AudioPreprocessing Heard(int sampleRateHz, int? fixedSamples)
    {
        AudioPreprocessing heard = AudioPreprocessing.FromSamples(sampleRateHz, normalizes: false);
        return heard with { MaxSamples = fixedSamples ?? int.MaxValue };
    }

    internal SoundColumn Column => new(Audio, AudioFolder, AudioSampleRateHz);

    internal VectorStep<SoundPart, float> Step()
    {
        VectorDataViewType type =
            FixedSamples is { } samples ? new(NumberDataViewType.Single, samples) : new(NumberDataViewType.Single);
        return Column.Step(Output, type, Heard(SampleRateHz, FixedSamples), [(SoundColumn.SampleRateAnnotation, SampleRateHz)],
            OnError);
    }

    internal SchemaShape After(SchemaShape before)
    {
        Column.Check(before);
        SchemaShape.Column rate = Shape.Scalar(SoundColumn.SampleRateAnnotation, NumberDataViewType.Int32);
        return Shape.After(before, FixedSamples is null ? Shape.VariableVector(Output, NumberDataViewType.Single, rate)
            : Shape.Vector(Output, NumberDataViewType.Single, rate));
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class LoadAudioCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Reads sounds into columns of mono samples at one rate, decoded ahead on worker threads.</summary>
        /// <param name="options">Columns and rate.</param>
        /// <returns>The estimator; its <c>Fit</c> reads nothing.</returns>
        public SoundEstimator LoadAudio(LoadAudioOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            return new(MlNet.Environment(catalog), new(options, null));
        }
    }
}
