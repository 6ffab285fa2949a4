using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ExtractSpectrogramCatalog.ExtractSpectrogram"/>.</summary>
public sealed record ExtractSpectrogramOptions
{
    /// <summary>The column that is added: the spectrogram, Vector&lt;Single&gt; of the dimensions [T, F] or [F, T] with the
    /// annotations <c>SampleRateHz</c> and <c>HopSamples</c> (Int32), so that frame t stands at t * hop / rate seconds; default
    /// <c>Spectrogram</c>.</summary>
    public string Output { get; init => field = Checked.Name(value); } = "Spectrogram";

    /// <inheritdoc cref="LoadAudioOptions.Audio"/>
    public required string Audio { get; init => field = Checked.Name(value); }

    /// <inheritdoc cref="LoadAudioOptions.AudioFolder"/>
    public string? AudioFolder { get; init; }

    /// <inheritdoc cref="LoadAudioOptions.AudioSampleRateHz"/>
    public int? AudioSampleRateHz { get; init => field = Checked.RateOrNull(value); }

    /// <summary>How spectrograms are made, of which length, and how they are normalised, for example
    /// <c>SpectrogramPreprocessing.Ast(128)</c> of about a second, or what a model's folder says
    /// (<see cref="SpectrogramPreprocessing.TryLoad"/>). Sounds are resampled to its rate.</summary>
    public required SpectrogramPreprocessing Spectrogram { get; init; }

    /// <summary>What happens where a sound cannot be read; default <see cref="OnError.Throw"/>. A missing spectrogram is all
    /// NaN.</summary>
    public OnError OnError { get; init; }

    const string HopAnnotation = "HopSamples";

    internal SoundColumn Column => new(Audio, AudioFolder, AudioSampleRateHz);

    internal VectorStep<SoundPart, float> Step()
    {
        AudioPreprocessing heard = AudioPreprocessing.FromSpectrogram(Spectrogram);
        return Column.Step(Output, new(NumberDataViewType.Single, heard.Shape(0).ToArray()), heard,
            [(SoundColumn.SampleRateAnnotation, heard.SampleRateHz), (HopAnnotation, Spectrogram.LogMel.HopSamples)], OnError);
    }

    internal SchemaShape After(SchemaShape before)
    {
        Column.Check(before);
        return Shape.After(before, Shape.Vector(Output, NumberDataViewType.Single,
            Shape.Scalar(SoundColumn.SampleRateAnnotation, NumberDataViewType.Int32), Shape.Scalar(HopAnnotation, NumberDataViewType.Int32)));
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class ExtractSpectrogramCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Makes log-mel spectrograms of sounds, as features for any trainer, computed ahead on worker
        /// threads.</summary>
        /// <param name="options">Columns and settings.</param>
        /// <returns>The estimator; its <c>Fit</c> reads nothing.</returns>
        public SoundEstimator ExtractSpectrogram(ExtractSpectrogramOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            return new(MlNet.Environment(catalog), new(null, options));
        }
    }
}
