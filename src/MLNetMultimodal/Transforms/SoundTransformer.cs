using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Makes <see cref="SoundTransformer"/>: the estimator of <c>LoadAudio</c> and <c>ExtractSpectrogram</c>.</summary>
public sealed class SoundEstimator : IEstimator<SoundTransformer>
{
    readonly IHostEnvironment _env;
    readonly SoundOptions _options;

    internal SoundEstimator(IHostEnvironment env, SoundOptions options) => (_env, _options) = (env, options);

    /// <summary>Makes the transformer. No rows are read.</summary>
    /// <param name="input">The data; only its schema is looked at.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SoundTransformer Fit(IDataView input)
    {
        var transformer = new SoundTransformer(_env, _options);
        transformer.GetOutputSchema(input.Schema);
        return transformer;
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => _options.After(inputSchema);
}

/// <summary>Which of the two it is, as it is saved.</summary>
sealed record SoundOptions(LoadAudioOptions? Samples, ExtractSpectrogramOptions? Spectrogram)
{
    public VectorStep<SoundPart, float> Step() => Samples?.Step() ?? Spectrogram?.Step() ?? throw None();

    public SchemaShape After(SchemaShape before) => Samples?.After(before) ?? Spectrogram?.After(before) ?? throw None();

    static InvalidDataException None() => new("there are neither options of samples nor of spectrograms.");
}

/// <summary>Makes samples or spectrograms of a column of sounds. Saved by <c>MLContext.Model.Save</c>. Thread-safe.</summary>
public sealed class SoundTransformer : ITransformer
{
    internal const string Loader = "MLNetMultimodalSound";
    static readonly ModelEntry Entry = new("MMSOUND ", Loader);

    readonly SoundOptions _options;
    readonly VectorComputation<SoundPart, float> _computation;

    internal SoundTransformer(IHostEnvironment env, SoundOptions options) =>
        (_options, _computation) = (options, new(env.Register(Loader), options.Step()));

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => _computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the new column: nothing is read before one of its values is asked for.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => _computation.Over(input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) => _computation.Mapper(inputSchema);

    void ICanSaveModel.Save(ModelSaveContext context) =>
        Entry.Save(context, writer => writer.Write(JsonSerializer.Serialize(_options)), []);

    static SoundTransformer Create(IHostEnvironment env, object context)
    {
        try
        {
            return new(env, JsonSerializer.Deserialize<SoundOptions>(Entry.Open(context).Header.ReadString())
                ?? throw new JsonException("it is null."));
        }
        catch (Exception e) when (e is JsonException or ArgumentException or FormatException)
        {
            throw new InvalidDataException($"the options of {Loader} in the model cannot be read: {e.Message}", e);
        }
    }
}
