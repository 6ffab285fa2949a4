using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="DecodeAudioCatalog.DecodeAudio"/>. Exactly one of <see cref="Model"/> and
/// <see cref="LoadedCodec"/> is set.</summary>
public sealed record DecodeAudioOptions
{
    /// <summary>The column that is added: mono samples, each about -1 to 1, Vector&lt;Single&gt; with the annotation
    /// <c>SampleRateHz</c> (Int32), as long as the codes, a whole number of frames; default <c>Decoded</c>.</summary>
    public string Output { get; init => field = Checked.Name(value); } = "Decoded";

    /// <summary>Column of codes, as <c>AudioTokens</c> makes it with the same codec.</summary>
    public required string Codes { get; init => field = Checked.Name(value); }

    /// <summary>K, codes of a frame; null for the column's annotation <c>Codebooks</c>.</summary>
    public int? Codebooks
    {
        get;
        init => field = value is null or >= 1 ? value
            : throw new ArgumentOutOfRangeException(nameof(Codebooks), value, "Codebooks must be at least 1.");
    }

    /// <inheritdoc cref="AudioTokensOptions.Model"/>
    public string? Model { get; init; }

    /// <inheritdoc cref="AudioTokensOptions.LoadedCodec"/>
    [JsonIgnore]
    public AudioCodec? LoadedCodec { get; init; }

    /// <inheritdoc cref="AudioTokensOptions.Threads"/>
    public int Threads { get; init => field = Checked.AtLeastZero(value); }

    /// <summary>What happens where codes are missing or make no whole frames; default <see cref="OnError.Throw"/>. There are no
    /// samples then.</summary>
    public OnError OnError { get; init; }

    internal VectorStep<CodePart, float> Step(AudioCodec codec) => new()
    {
        Output = Output,
        Input = new CodeColumn(Codes, Codebooks, codec),
        Type = new(NumberDataViewType.Single),
        Annotations = [(SoundColumn.SampleRateAnnotation, codec.Config.SampleRateHz)],
        Compute = (part, slot) => codec.Decode(CodeColumn.Sound(part, slot, codec)),
        Missing = float.NaN,
        OnError = OnError,
    };

    internal SchemaShape After(SchemaShape before)
    {
        new CodeColumn(Codes, Codebooks, null).Check(before);
        return Shape.After(before, Shape.VariableVector(Output, NumberDataViewType.Single,
            Shape.Scalar(SoundColumn.SampleRateAnnotation, NumberDataViewType.Int32)));
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class DecodeAudioCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Turns codes of a neural codec, as <c>AudioTokens</c> makes them, back into sound, on worker
        /// threads.</summary>
        /// <param name="options">Columns and codec.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the codec and trains nothing.</returns>
        /// <exception cref="ArgumentException">Not exactly one codec is given.</exception>
        public CodecEstimator DecodeAudio(DecodeAudioOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            return new(MlNet.Environment(catalog), new(null, options));
        }
    }
}
