using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="FuseFramesAndSoundCatalog.FuseFramesAndSound"/>. Exactly one of <see cref="Model"/> and
/// <see cref="LoadedModel"/> is set.</summary>
public sealed record FuseFramesAndSoundOptions
{
    /// <summary>The column that is added: the mean of the frames with what they heard, Vector&lt;Single, D&gt; of length 1; default
    /// <c>Embedding</c>.</summary>
    public string Output { get; init => field = Checked.Name(value); } = "Embedding";

    /// <summary>One more column: how much each frame listened to each moment, Vector&lt;Single&gt; of the dimensions [T, S] whose
    /// rows sum to 1, with the annotations <c>FrameSeconds</c> and <c>MomentSeconds</c> (Single): frame t is of the time
    /// t * FrameSeconds, moment s begins at s * MomentSeconds. Default <c>AttentionMap</c>.</summary>
    public string AttentionMap { get; init => field = Checked.Name(value); } = "AttentionMap";

    /// <summary>Column of videos with sound: a path as text, or the bytes of a video file as Vector&lt;Byte&gt;. Their beginning
    /// is seen and heard, as long as the model's spectrogram lasts.</summary>
    public required string Video { get; init => field = Checked.Name(value); }

    /// <summary>Folder that relative paths in <see cref="Video"/> start from; null for the working directory.</summary>
    public string? VideoFolder { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.Model"/>
    public string? Model { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.LoadedModel"/>
    [JsonIgnore]
    public MultimodalModel? LoadedModel { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.Threads"/>
    public int Threads { get; init => field = Checked.AtLeastZero(value); }

    /// <summary>What happens where frames or sound cannot be read; default <see cref="OnError.Throw"/>. Missing values are all
    /// NaN.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = InferenceMode.Throughput, Threads = Threads };

    internal VideoColumn Column => new(Video, VideoFolder, takesFrames: false);

    /// <summary>The columns after the transform.</summary>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    internal SchemaShape After(SchemaShape before)
    {
        Column.Check(before);
        return Shape.After(before,
            Shape.Vector(Output, NumberDataViewType.Single, Shape.Scalar(EmbedComputation.ModelAnnotation, TextDataViewType.Instance)),
            Shape.Vector(AttentionMap, NumberDataViewType.Single,
                Shape.Scalar(FrameSoundComputation.FrameAnnotation, NumberDataViewType.Single),
                Shape.Scalar(FrameSoundComputation.MomentAnnotation, NumberDataViewType.Single)));
    }

    internal void Validate() => Columns.CheckDistinct(Output, AttentionMap);
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class FuseFramesAndSoundCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Lets the frames of videos listen to their soundtracks with a model that was trained for it
        /// (<see cref="MLNetMultimodal.Models.Families.FrameSoundFusion"/>): an embedding of both, and which moment each frame
        /// listened to. Decodes ahead on worker threads.</summary>
        /// <param name="options">Columns and model.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the model and trains nothing.</returns>
        /// <exception cref="ArgumentException">Not exactly one model is given, or output columns have the same name.</exception>
        public FuseFramesAndSoundEstimator FuseFramesAndSound(FuseFramesAndSoundOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            options.Validate();
            return new(MlNet.Environment(catalog), options, SharedModel.From(options.Model, options.LoadedModel, options.Inference));
        }
    }
}

/// <summary>Fits <see cref="FrameSoundTransformer"/>.</summary>
public sealed class FuseFramesAndSoundEstimator : RowEstimator<FrameSoundTransformer>
{
    internal FuseFramesAndSoundEstimator(IHostEnvironment env, FuseFramesAndSoundOptions options, SharedModel<MultimodalModel> model)
        : base(options.After, _ => new(env, options, model))
    {
    }
}

/// <summary>Fuses frames and soundtracks: the result of <see cref="FuseFramesAndSoundEstimator"/> and of the trainer.</summary>
public sealed class FrameSoundTransformer : ModelTransformer<MultimodalModel>
{
    internal const string Loader = "MLNetMultimodalListen";
    static readonly ModelEntry Entry = new("MMFRSND ", Loader);

    internal FrameSoundTransformer(IHostEnvironment env, FuseFramesAndSoundOptions options, SharedModel<MultimodalModel> shared)
        : base(shared, model =>
        {
            options.Validate();
            return new FrameSoundComputation(env.Register(Loader), options, model);
        }) => Options = options;

    /// <summary>What it was made with.</summary>
    public FuseFramesAndSoundOptions Options { get; }

    /// <summary>Writes the model as a folder: config, weights, preprocessing. Each file appears whole or not at all.</summary>
    /// <param name="path">The folder; it is created, and files of the same names are replaced.</param>
    public void SaveModelFolder(string path) => ModelContent.SaveFolder(Model, path);

    private protected override void Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Model, Options with { Model = null });

    static FrameSoundTransformer Create(IHostEnvironment env, object context)
    {
        var (model, options) = ModelContent.Load<FuseFramesAndSoundOptions>(Entry, context, o => o.Inference);
        return new(env, options, SharedModel.Of(model, owned: true));
    }
}
